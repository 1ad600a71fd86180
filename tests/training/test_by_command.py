"""A study whose trainings are a command of the user's own: what it is given, what is believed, and what is not."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import own_trainer
import pytest
from own_study import COMMAND, own_study, planned, run_first
from paths import HELPERS, ROOT
from pipeline_study import DAGSTER_WARNINGS, materializations, result_files, run
from tiny_study import TinyMLP, tiny_study

from flops_fit import ExperimentResult, ModelSpec, Recipe, Study, SweepOptions
from flops_fit.errors import StudyError
from flops_fit.preflight.preflight import preflight
from flops_fit.results.results import load_results
from flops_fit.stages import fit_study
from flops_fit.study.sections import TrainerSpec
from flops_fit.training.side_by_side import train_all

pytestmark = DAGSTER_WARNINGS

STUDY = """\
name = "tiny"

[model]
num_params = [1e5, 1e9]

[sweep]
compute_budgets = {budgets}
num_sizes_per_budget = {sizes}

[hardware]
workers = {workers}

[trainer]
command = '''{command}'''
timeout_seconds = {timeout}
"""


def write_study(folder, command=COMMAND, budgets=("1e14", "1e15", "1e16"), sizes=5, timeout=60, workers=1):
    path = Path(folder) / "study.toml"
    given = {"budgets": json.dumps(list(budgets)), "sizes": sizes, "timeout": timeout, "workers": workers}
    path.write_text(STUDY.format(command=command, **given))
    return path


@pytest.mark.slow
def test_the_whole_pipeline_recovers_the_law_that_the_program_follows(tmp_path):
    """At a hundred times the largest budget, the optimum of the true law, by a search of its own."""
    outcome = run(write_study(tmp_path), tmp_path)
    assert len(outcome.results) == 15
    assert not outcome.not_completed
    compute = 1e18
    best = min((10 ** (step / 1000) for step in range(6000, 10000)), key=lambda n: own_trainer.law(n, compute / 6 / n))
    assert outcome.law.N_opt(compute) == pytest.approx(best, rel=0.2)
    assert outcome.law.L_opt(compute) == pytest.approx(own_trainer.law(best, compute / 6 / best), rel=0.01)
    before, made = result_files(tmp_path), materializations(tmp_path)
    again = run(tmp_path / "study.toml", tmp_path)
    assert not again.done
    assert (result_files(tmp_path), materializations(tmp_path)) == (before, made)


def test_what_goes_wrong_has_its_reason_and_the_others_complete(tmp_path):
    path = write_study(tmp_path, f"{COMMAND} {{study_dir}}/troubles.json", ("1e15", "1e16"), timeout=2)
    plan = planned(Study.from_toml(path))
    kinds = ["tokens", "silent", "exit", "hang", "nan", "not json", "flops", "params"]
    victims = dict(zip(kinds, plan.experiments[1:9], strict=True))
    assert len(plan.experiments) == 10
    (tmp_path / "troubles.json").write_text(json.dumps({str(item.num_tokens): kind for kind, item in victims.items()}))
    study = Study.from_toml(path)
    results = train_all(study, plan.experiments, output_dir=tmp_path / "runs", progress=False)
    by_id = {result.experiment_id: result for result in results}
    found = {kind: by_id[item.experiment_id] for kind, item in victims.items()}
    statuses = dict.fromkeys(kinds, "failed") | {"hang": "timed_out", "nan": "diverged"}
    assert {kind: result.status for kind, result in found.items()} == statuses
    assert {result.loss for result in found.values()} == {None}
    tokens = victims["tokens"].num_tokens
    wrong = f"num_tokens = {int(tokens * 0.9):,} in "
    assert found["tokens"].reason.startswith(wrong)
    assert f"planned are {tokens:,}: -10.0% where 2% is allowed; train what was planned" in found["tokens"].reason
    assert "the command ended without a result in" in found["silent"].reason
    assert "num_tokens and loss to {result_path} ($FLOPS_FIT_RESULT)" in found["silent"].reason
    first_line, *lines = found["exit"].reason.splitlines()
    assert first_line.startswith("the command exited with code 1: no licence for this machine; see ")
    assert lines[-1].strip() == "no licence for this machine"
    assert "  looking for a licence" in lines
    assert "longer than timeout_seconds = 2 and was ended; raise trainer.timeout_seconds" in found["hang"].reason
    assert "a loss that is not finite" in found["nan"].reason
    assert "is not JSON" in found["not json"].reason
    assert "+900.0% where 2% is allowed" in found["flops"].reason
    params = victims["params"].num_params
    assert f"num_params = {params + 1} in " in found["params"].reason
    assert f"planned are {params:,}" in found["params"].reason
    others = [item for item in plan.experiments if item not in victims.values()]
    assert [by_id[item.experiment_id].loss for item in others] == [
        own_trainer.noisy(item.num_params, item.num_tokens) for item in others
    ]


def test_the_result_says_what_the_command_reported(tmp_path):
    events = []
    result = run_first(own_study(), tmp_path, on_log=events.append)
    experiment = planned(own_study()).experiments[0]
    assert result == ExperimentResult.load(tmp_path / experiment.experiment_id / "result.json")
    assert (result.status, result.source, result.num_tokens) == ("completed", "trained", experiment.num_tokens)
    assert result.flops == 6 * experiment.num_params * experiment.num_tokens
    assert (result.train_loss, result.seconds, result.steps) == (2.0, 12.5, 100)
    assert result.tokens_per_second == experiment.num_tokens / 12.5
    assert [(event["status"], event["held_out_loss"]) for event in events] == [("completed", result.loss)]


def test_the_command_finds_its_experiment_in_a_file_and_in_the_environment(tmp_path):
    """In its own folder, with the values quoted, and without what worker processes set for themselves."""
    program = (
        "import json, os, sys\n"
        "given = json.load(open(os.environ['FLOPS_FIT_EXPERIMENT']))\n"
        "print(os.environ.get('OMP_NUM_THREADS'), os.environ.get('PYTHONPATH'))\n"
        "assert os.path.samefile(os.getcwd(), sys.argv[2]), sys.argv\n"
        "assert os.environ['FLOPS_FIT_EXPERIMENT'] == sys.argv[1], sys.argv\n"
        "loss = {'num_tokens': given['num_tokens'], 'loss': given['num_params'] / 1e9}\n"
        "json.dump(loss, open(os.environ['FLOPS_FIT_RESULT'], 'w'))\n"
    )
    (tmp_path / "program.py").write_text(program)
    command = f"{sys.executable} {tmp_path}/program.py {{experiment_path}} {{output_dir}}"
    study = own_study(command)
    folder = tmp_path / "two words; exit 1"
    experiments = planned(study).experiments
    results = train_all(study, experiments, output_dir=folder, progress=False)
    assert [result.reason for result in results] == [None, None]
    assert [result.loss for result in results] == [item.num_params / 1e9 for item in experiments]
    log = (folder / experiments[0].experiment_id / "trainer.log").read_text()
    assert log == f"{os.environ.get('OMP_NUM_THREADS')} {os.environ.get('PYTHONPATH')}\n"


def test_a_finished_result_is_returned_and_a_failed_one_tried_again(tmp_path):
    counted = f"echo once >> {{output_dir}}/count; test -e {{output_dir}}/ready && {COMMAND}"
    study = own_study(counted)
    experiment = planned(study).experiments[0]
    folder = tmp_path / experiment.experiment_id
    assert run_first(study, tmp_path).status == "failed"
    (folder / "trainer_result.json").write_text(json.dumps({"num_tokens": experiment.num_tokens, "loss": 0.0}))
    assert run_first(study, tmp_path).status == "failed", "the result of an earlier attempt is not this one's"
    assert (folder / "trainer_result.previous.json").exists()
    (folder / "ready").touch()
    completed = run_first(study, tmp_path)
    assert completed.loss == own_trainer.noisy(experiment.num_params, experiment.num_tokens)
    assert run_first(study, tmp_path) == completed
    assert (folder / "count").read_text() == 3 * "once\n"


@pytest.mark.parametrize(
    ("report", "reason"),
    [
        ([1, 2], "is no object"),
        ({"loss": 2.0}, "has loss; the command must write one JSON object with num_tokens and loss"),
        ({"loss": "2.0", "num_tokens": 1}, "loss = '2.0' in .* must be a number"),
        ({"loss": True, "num_tokens": 1}, "loss = True in .* must be a number"),
        ({"loss": 2.0, "num_tokens": 1.5}, r"num_tokens = 1\.5 in .* must be a whole number"),
        ({"loss": 2.0, "num_tokens": "exact", "seconds": -1}, r"seconds = -1\.0 in .* must be a finite number"),
        ({"loss": 2.0, "num_tokens": "too many"}, r"num_tokens = .* \+2\.1% where 2% is allowed"),
    ],
)
def test_a_report_that_is_malformed_or_off_the_plan_is_refused(tmp_path, report, reason):
    study = own_study("cp {study_dir}/report.json {result_path}", study_dir=str(tmp_path))
    tokens = planned(study).experiments[0].num_tokens
    values = {"exact": tokens, "too many": round(tokens * 1.021)}
    if isinstance(report, dict) and report.get("num_tokens") in values:
        report = report | {"num_tokens": values[report["num_tokens"]]}
    (tmp_path / "report.json").write_text(json.dumps(report))
    result = run_first(study, tmp_path)
    assert result.status == "failed"
    with pytest.raises(AssertionError, match=reason):
        raise AssertionError(result.reason)


def test_tokens_within_the_limit_count_as_reported(tmp_path):
    study = own_study("cp {study_dir}/report.json {result_path}", study_dir=str(tmp_path))
    experiment = planned(study).experiments[0]
    tokens = round(experiment.num_tokens * 1.015)
    (tmp_path / "report.json").write_text(json.dumps({"loss": 2.5, "num_tokens": tokens}))
    result = run_first(study, tmp_path)
    assert (result.num_tokens, result.flops) == (tokens, tokens * 6 * experiment.num_params)


def test_ids_follow_the_command_and_not_its_timeout():
    def ids(study):
        return [item.experiment_id for item in planned(study).experiments]

    first = ids(own_study())
    assert ids(own_study(timeout_seconds=5.0)) == first
    assert not set(ids(own_study(COMMAND + " --bf16"))) & set(first)
    assert not set(ids(own_study(version="2"))) & set(first)


def test_ids_of_studies_without_a_trainer_are_as_they_were():
    """As computed by the release before trainers; the fingerprint of a pinned model, no data and no loss."""
    recipe = Recipe(learning_rate=0.02, batch_tokens="0.5*sqrt(tokens)", betas=(0.9, 0.95), weight_decay=0.0)  # of then
    model = ModelSpec(factory=TinyMLP, size_param="width", version="1")
    study = tiny_study(model=model, data=None, loss=None, training=recipe)
    assert study.outcome_fingerprint() == OUTCOME_BEFORE_TRAINERS


OUTCOME_BEFORE_TRAINERS = "8143c7dc835fb4cd13649bde2181d3e06271eda33a6bb65ad1e8a6c8a1b63c85"


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("train --n {num_parms}", r"unknown placeholder \{num_parms\}; did you mean \{num_params\}\?"),
        ("train {width}", r"unknown placeholder \{width\}.*"),
        ("train {}", r"unknown placeholder \{\}; known are experiment_id, .*result_path"),
        ("awk '{print'", r"cannot be filled .* a literal brace twice"),
        ("train {seed:d}", "cannot be filled"),
        ("train {study_dir}/x", r"unknown placeholder \{study_dir\}"),
        (" ", "must be the text of a shell command"),
    ],
)
def test_a_command_that_cannot_be_filled_is_refused_before_anything(command, message):
    with pytest.raises(StudyError, match=message):
        own_study(command)


@pytest.mark.parametrize("seconds", [0, -1.0, float("inf"), True, "5"])
def test_a_timeout_that_is_no_positive_number_is_refused(seconds):
    with pytest.raises(StudyError, match=r"trainer\.timeout_seconds = .* must be a number above 0"):
        own_study(timeout_seconds=seconds)


def test_a_study_file_names_file_and_placeholder(tmp_path):
    with pytest.raises(StudyError, match=r"study\.toml: trainer\.command has an unknown placeholder \{num_token\}"):
        Study.from_toml(write_study(tmp_path, "train {num_token}"))


def test_the_size_has_its_own_name_and_the_study_its_folder(tmp_path):
    trainer = TrainerSpec(command="echo {width} {study_dir}", study_dir="/a b")
    study = tiny_study(trainer=trainer, data=None, loss=None)
    result = run_first(study, tmp_path)
    width = planned(study).experiments[0].size_param_value
    assert (tmp_path / result.experiment_id / "trainer.log").read_text() == f"{width} /a b\n"


def test_counts_from_a_list_are_the_sizes_there_are(tmp_path):
    path = write_study(tmp_path)
    path.write_text(path.read_text().replace("[1e5, 1e9]", "[2e5, 1e6, 3000000, 1e7]"))
    plan = planned(Study.from_toml(path))
    assert {item.num_params for item in plan.experiments} == {200_000, 1_000_000, 3_000_000, 10_000_000}
    assert plan.size_param == "num_params"


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("num_params = [1e6]", r"\[model\] num_params = \(1000000\.0,\) must be \[smallest, largest\]"),
        ("num_params = [1e6, 0]", "each of num_params = 0 must be a number of at least 1"),
        ('num_params = [1e6, 1e8]\nsize_param = "width"', r"\[model\] size_param = 'width' must be \"num_params\""),
    ],
)
def test_counts_that_make_no_plan_are_refused(tmp_path, model, message):
    path = write_study(tmp_path)
    path.write_text(path.read_text().replace("num_params = [1e5, 1e9]", model))
    with pytest.raises(StudyError, match=message):
        Study.from_toml(path)


def test_one_at_a_time_unless_said_otherwise():
    assert own_study().hardware.num_workers() == 1
    assert tiny_study(trainer=TrainerSpec(command="x")).hardware.num_workers() == 2


def test_first_steps_are_not_ours_to_take():
    with pytest.raises(StudyError, match=r"has a trainer, whose steps are not taken here; try trainer\.command"):
        preflight(own_study(), planned(own_study()))


def alive(pid):
    try:
        os.kill(pid, 0)
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except (ProcessLookupError, FileNotFoundError):
        return False


def wait_for(condition, seconds=180):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_timeout_ends_the_command_with_its_children(tmp_path):
    study = own_study(f"sleep 300 & echo $! > {{output_dir}}/pid; wait; {COMMAND}", timeout_seconds=0.5)
    result = run_first(study, tmp_path)
    assert result.status == "timed_out"
    pid = int((tmp_path / result.experiment_id / "pid").read_text())
    wait_for(lambda: not alive(pid))


def test_a_command_does_not_outlive_a_killed_parent(tmp_path):
    code = "import sys, own_study as tests\ntests.run_first(tests.own_study(tests.SLEEPER), sys.argv[1])\n"
    parent = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], cwd=HELPERS)
    wait_for(lambda: list(tmp_path.glob("*/pid")))
    pid = int(next(tmp_path.glob("*/pid")).read_text())
    assert alive(pid)
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    wait_for(lambda: not alive(pid))


KILLED_BEFORE_IT_WATCHES = """
import os, signal, sys
import own_study as tests
from flops_fit.training import child_process

def watched(process):
    print(process.pid, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)

child_process._watched = watched
tests.run_first(tests.own_study("touch {output_dir}/begun"), sys.argv[1])
"""


def test_a_command_whose_parent_is_killed_before_it_watches_does_not_begin(tmp_path):
    command = [sys.executable, "-c", KILLED_BEFORE_IT_WATCHES, str(tmp_path)]
    killed = subprocess.run(command, cwd=HELPERS, stdout=subprocess.PIPE, text=True)
    assert killed.returncode == -signal.SIGKILL
    wait_for(lambda: not alive(int(killed.stdout)))
    assert not list(tmp_path.glob("*/begun"))


@pytest.mark.slow
def test_commands_under_way_when_the_run_is_killed_are_waited_for(tmp_path):
    """What has been paid for is not thrown away, and nothing is trained twice."""
    waiting = "while ! test -e {study_dir}/go; do sleep 0.1; done"
    command = f"echo once >> {{output_dir}}/count; {waiting}; {COMMAND}"
    path = write_study(tmp_path, command, budgets=("1e14", "1e15"), sizes=1, workers=2)
    killed = subprocess.Popen(
        [sys.executable, "-m", "flops_fit_assets.cli", "run", str(path), "--train-anyway"],
        env=os.environ | {"FLOPS_FIT_HOME": str(tmp_path)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd=ROOT,
    )
    try:
        wait_for(lambda: killed.poll() is not None or len(list(tmp_path.glob("tiny/runs/*/count"))) == 2)
    finally:
        killed.kill()
        killed.wait()
    assert len(list(tmp_path.glob("tiny/runs/*/count"))) == 2
    study = Study.from_toml(write_study(tmp_path, command, budgets=("1e14", "1e15"), sizes=1))  # waits in this process
    threading.Timer(0.5, (tmp_path / "go").touch).start()
    results = train_all(study, planned(study).experiments, output_dir=tmp_path / "tiny" / "runs", progress=False)
    assert [result.status for result in results] == ["completed", "completed"]
    assert [file.read_text() for file in tmp_path.glob("tiny/runs/*/count")] == ["once\n", "once\n"]


def test_a_law_in_process_from_python(tmp_path):
    """No Dagster, no file: the plan, the trainings and the fit as functions."""
    study = replace(own_study(), sweep=SweepOptions(compute_budgets=("1e14", "1e15", "1e16"), num_sizes_per_budget=5))
    plan = planned(study)
    results = train_all(study, plan.experiments, output_dir=tmp_path, progress=False)
    assert fit_study(study, plan, results).alpha == pytest.approx(own_trainer.ALPHA, abs=0.1)
    assert {item.experiment_id for item in load_results(tmp_path)} == {item.experiment_id for item in plan.experiments}
