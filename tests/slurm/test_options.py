"""What a study may say of its jobs, and the script that comes of it."""

import dataclasses

import pytest
from paths import HELPERS
from stand_in_slurm import options_in

from flops_fit import Hardware, Study
from flops_fit.errors import StudyError
from flops_fit.slurm.options import SlurmOptions
from flops_fit.slurm.script import job_script
from flops_fit.stages import study_cost, study_plan, study_size_map

STUDY = """
name = "jobs"
[model]
factory = "tiny_study:TinyMLP"
size_param = "width"
size_values = [4, 8]
[data]
train = "tiny_study:train"
eval = "tiny_study:held_out"
[loss]
fn = "flops_fit.loss:cross_entropy"
[sweep]
compute_budgets = [2e6]
[hardware]
{hardware}
[slurm]
{slurm}
"""


def script(devices=1, on_gpus=True, folder="/runs/one 100%", **options):
    how = {
        "name": "flops-fit c1e+06-w8",
        "folder": folder,
        "directory": "/my study",
        "environment": {"A": "b c"},
    }
    return job_script(SlurmOptions(**options), ["python", "-m", "x y"], devices=devices, on_gpus=on_gpus, **how)


def asked(text):
    return [line.removeprefix("#SBATCH ") for line in text.splitlines() if line.startswith("#SBATCH ")]


def test_a_job_asks_for_whole_nodes_of_as_many_devices_as_one_has():
    options = asked(script(devices=8, devices_per_node=4, cpus_per_device=6, gpu_type="h100"))
    assert options[1:5] == ["--nodes=2", "--ntasks-per-node=4", "--cpus-per-task=6", "--gres=gpu:h100:4"]
    assert asked(script(devices=2, devices_per_node=4))[1:5] == [
        "--nodes=1", "--ntasks-per-node=2", "--cpus-per-task=1", "--gres=gpu:2"
    ]  # fmt: skip


def test_what_is_given_is_asked_for_and_nothing_else():
    options = asked(
        script(partition="gpu", account="me", time="2:00:00", memory_per_node="64G", options=["--exclusive"])
    )
    assert options[5:9] == ["--partition=gpu", "--account=me", "--time=2:00:00", "--mem=64G"]
    assert options[-1] == "--exclusive"
    assert not [option for option in asked(script(on_gpus=False)) if "gpu" in option or "partition" in option]


def test_it_saves_before_its_time_is_over_and_may_be_requeued():
    options = asked(script(save_seconds=90))
    assert {"--signal=TERM@90", "--requeue", "--open-mode=append"} <= set(options)


def test_its_log_is_where_it_should_be_whatever_the_folder_is_called():
    assert "--output=/runs/one 100%%/slurm-%j.log" in options_in(script())
    for name in ('it\'s "mine"', "issue #7", "back\\slash", "$HOME `x` ; rm"):
        options = options_in(script(folder=f"/runs/{name}"))
        assert f"--output=/runs/{name}/slurm-%j.log" in options
        assert {"--open-mode=append", "--requeue"} <= set(options), "nothing that follows is lost"


def test_its_lines_are_quoted_and_begin_with_the_setup():
    lines = script(setup=["module load cuda"], cpus_per_device=6).splitlines()
    assert lines[-6:] == [
        "cd '/my study' || exit 1",
        "export A='b c'",
        "module load cuda",
        'export MASTER_ADDR="$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)"',
        'export MASTER_PORT="$((10000 + SLURM_JOB_ID % 20000))"',
        "exec srun --kill-on-bad-exit=1 --cpus-per-task=6 python -m 'x y'",
    ]
    assert asked("\n".join(lines))[0] == "--job-name=flops-fit-c1e-06-w8"


def test_devices_that_would_leave_a_node_half_idle_are_not_used():
    four = SlurmOptions(devices_per_node=4)
    assert [four.usable(devices) for devices in (1, 3, 4, 5, 7, 8, 11)] == [1, 3, 4, 4, 4, 8, 8]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"time": "soon"}, r"slurm.time = 'soon' must be minutes, or as \"12:00:00\""),
        ({"partition": "a b"}, r"slurm.partition = 'a b' must be one word"),
        ({"devices_per_node": 0}, r"slurm.devices_per_node = 0 must be a whole number of at least 1"),
        ({"options": ["-p gpu"]}, r"slurm.options = .* must be a list such as"),
        ({"options": "--exclusive"}, r"slurm.options = '--exclusive' must be a list"),
        ({"save_seconds": 1}, r"slurm.save_seconds = 1 must be a whole number of at least 10"),
    ],
)
def test_what_it_cannot_be_is_refused(given, said):
    with pytest.raises(StudyError, match=said):
        SlurmOptions(**given)


def study(tmp_path, hardware='device = "cpu"\nworkers = 8', slurm=""):
    path = tmp_path / "study.toml"
    path.write_text(STUDY.format(hardware=hardware, slurm=slurm))
    return path


def test_a_study_file_has_a_section_and_knows_where_it_is(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(HELPERS)
    found = Study.from_toml(study(tmp_path, slurm='partition = "gpu"\ntime = "1:00:00"'))
    assert (found.slurm.partition, found.slurm.time) == ("gpu", "1:00:00")
    assert found.slurm.study_file == str(tmp_path / "study.toml")
    plain = STUDY.replace("[slurm]\n{slurm}\n", "").format(hardware='device = "cpu"')
    (tmp_path / "study.toml").write_text(plain)
    assert Study.from_toml(tmp_path / "study.toml").outcome_fingerprint() == found.outcome_fingerprint()


def test_a_plan_says_the_devices_that_a_job_asks_for(tmp_path, monkeypatch):
    """One training on four workers would take four; with nodes of three that is one node."""
    monkeypatch.syspath_prepend(HELPERS)
    hardware = 'device = "cpu"\nworkers = 4\ndevices_per_training = "auto"\npeak_flops = 1e3'
    for slurm, count in (("devices_per_node = 4", 4), ("devices_per_node = 3", 3)):
        found = Study.from_toml(study(tmp_path, hardware, slurm))
        plan = study_plan(found, study_size_map(found))
        longest = max(plan.experiments, key=lambda item: item.planned_flops)
        alone = dataclasses.replace(plan, experiments=(longest,), checks=())
        assert [item.count for item in study_cost(found, alone).devices.values()] == [count]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"hardware": 'device = "cpu"'},
            r"\[slurm\] needs workers in \[hardware\]: how many devices its jobs may take",
        ),
        ({"slurm": 'queue = "gpu"'}, r"\[slurm\] has an unknown key 'queue'"),
        (
            {"hardware": "workers = 16\ndevices_per_training = 6", "slurm": "devices_per_node = 4"},
            r"devices_per_training = 6 on nodes of slurm.devices_per_node = 4 leaves some .* set 4 or 8",
        ),
    ],
)
def test_a_study_that_does_not_fit_together_is_refused(tmp_path, monkeypatch, changes, said):
    monkeypatch.syspath_prepend(HELPERS)
    with pytest.raises(StudyError, match=said):
        Study.from_toml(study(tmp_path, **changes))


def test_how_trainings_are_run_is_no_part_of_what_is_trained():
    assert Hardware(devices_per_training=2).spending_terms == {}
    assert Hardware(devices_per_training=2, max_hours=1.0, workers=2).spending_terms["devices_per_training"] == 2
    assert "devices_per_training" not in Hardware(max_hours=1.0).spending_terms
