"""Trainings as jobs: taken by stand-ins for Slurm's commands, which refuse what Slurm refuses and run the rest."""

import os
import signal
import subprocess
import sys
import threading

import pytest
import stand_in_slurm
from paths import HELPERS, ROOT
from stand_in_slurm import wait_for_end
from webdriver import wait_for

from flops_fit import Study, run_experiment
from flops_fit.basics.files import write_json
from flops_fit.errors import StudyError
from flops_fit.preflight.preflight import preflight_if_due
from flops_fit.processes.stop_requests import StopRequest
from flops_fit.results.results import ExperimentResult
from flops_fit.slurm import queue
from flops_fit.stages import study_plan, study_size_map
from flops_fit.training import by_slurm
from flops_fit.training.on_devices import train_on_devices

HEAD = "#!/bin/bash\n#SBATCH --nodes=1\n#SBATCH --ntasks-per-node={tasks}\n#SBATCH --output={folder}/%j.log\n{more}\n"


@pytest.fixture
def slurm(tmp_path, monkeypatch):
    """The stand-ins on the PATH; the environment that has them."""
    stand_in_slurm.install(tmp_path / "bin")
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    monkeypatch.setenv("STAND_IN_SLURM", str(tmp_path / "jobs"))
    monkeypatch.setenv("PYTHONPATH", f"{HELPERS}:{ROOT}")
    return os.environ


def write_script(folder, line, tasks=1, more=""):
    path = folder / "job.sh"
    path.write_text(HEAD.format(folder=folder, tasks=tasks, more=more) + line + "\n")
    return path


def test_a_job_is_run_and_leaves_the_queue(slurm, tmp_path):
    line = 'exec srun --kill-on-bad-exit=1 sh -c "echo $SLURM_PROCID of $SLURM_NTASKS"'.replace("$SLURM", "\\$SLURM")
    job = queue.submit(write_script(tmp_path, line, tasks=2), slurm)
    assert queue.how_it_ended(job, slurm) in ("PENDING", "RUNNING", "COMPLETED")
    assert wait_for_end(job) == "COMPLETED"
    assert queue.state(job, slurm) is None
    assert sorted((tmp_path / f"{job}.log").read_text().splitlines()) == ["0 of 2", "1 of 2"]


def test_a_job_that_is_cancelled_is_asked_to_end(slurm, tmp_path):
    job = queue.submit(write_script(tmp_path, "exec srun sleep 600"), slurm)
    wait_for(lambda: stand_in_slurm.note(job, "tasks"), 120, "the job's task")
    assert queue.state(job, slurm) == "RUNNING"
    assert queue.cancel(job, slurm) == ""
    assert wait_for_end(job) == "CANCELLED by 0"
    assert "already completing or completed" in queue.cancel(job, slurm)
    assert queue.how_it_ended(job, slurm) == "CANCELLED by 0"


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (
            "#SBATCH --no-such-option=1",
            r"sbatch did not take .*job.sh: sbatch: unrecognized option '--no-such-option=1'",
        ),
        ("#SBATCH --partition=mars", "Invalid --partition specification: mars"),
    ],
)
def test_what_sbatch_refuses_is_said(slurm, tmp_path, more, said):
    with pytest.raises(StudyError, match=said):
        queue.submit(write_script(tmp_path, "true", more=more), slurm)


def test_a_queue_that_cannot_be_asked_is_no_end_of_a_job(tmp_path):
    (tmp_path / "squeue").write_text(
        '#!/bin/sh\necho "slurm_load_jobs error: Unable to contact controller" >&2\nexit 1\n'
    )
    (tmp_path / "squeue").chmod(0o755)
    assert queue.state("7", {"PATH": str(tmp_path)}) == "UNKNOWN"


def test_without_slurm_that_is_said(tmp_path):
    with pytest.raises(StudyError, match="sbatch is not to be found on this machine"):
        queue.submit(tmp_path / "job.sh", {"PATH": str(tmp_path)})
    assert queue.how_it_ended("7", {"PATH": str(tmp_path)}) == ""


STUDY = """
name = "jobs"
[model]
factory = "slow_model:HoldsOn"
size_param = "width"
size_values = [8, 16, 32]
kwargs = {{ folder = "{folder}" }}
[data]
train = "tiny_study:train"
eval = "tiny_study:held_out"
[loss]
fn = "flops_fit.loss:cross_entropy"
[sweep]
compute_budgets = [2e6]
num_sizes_per_budget = 3
[training]
learning_rate = 0.02
batch_tokens = 25
[hardware]
device = "cpu"
workers = 2
devices_per_training = 2
[slurm]
partition = "cpu"
time = "1:00:00"
devices_per_node = 1
poll_seconds = 0.1
{more}
"""
SUBMIT = """
import sys
from pathlib import Path
from flops_fit import Study
from flops_fit.stages import study_plan, study_size_map
from flops_fit.training import by_slurm
from flops_fit.training.on_devices import train_on_devices
study = Study.from_toml(sys.argv[1])
item = study_plan(study, study_size_map(study)).experiments[0]
train_on_devices(study, item, 2, output_dir=Path(sys.argv[2]))
"""


def write_study(folder, more=""):
    path = folder / "study.toml"
    path.write_text(STUDY.format(folder=folder, more=more))
    return path


def planned(path):
    study = Study.from_toml(path)
    return study, study_plan(study, study_size_map(study)).experiments[0]


def submitting(path, runs):
    """A process that submits and waits, once its job stands in the step that it holds on in; and its log."""
    (path.parent / "hold").touch()
    process = subprocess.Popen(
        [sys.executable, "-c", SUBMIT, str(path), str(runs)],
        preexec_fn=lambda: signal.signal(signal.SIGTERM, signal.SIG_DFL),
    )

    def reached():
        assert process.poll() is None
        logs = list(runs.glob("*/log.jsonl"))
        return logs and '"step": 19,' in logs[0].read_text() and logs[0]

    return process, wait_for(reached, 300, "step 19")


def test_an_option_that_sbatch_does_not_know_ends_the_training_with_what_it_said(slurm, tmp_path):
    study, item = planned(write_study(tmp_path, more='options = ["--exclusivity"]'))
    with pytest.raises(StudyError, match=r"(?s)unrecognized option '--exclusivity'.*correct it in \[slurm\]"):
        train_on_devices(study, item, 2, output_dir=tmp_path / "runs")


def test_nothing_is_begun_where_there_is_no_sbatch(tmp_path, monkeypatch):
    study, _ = planned(write_study(tmp_path))
    plan = study_plan(study, study_size_map(study))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(StudyError, match="nothing was trained: sbatch is not to be found on this machine; start it"):
        preflight_if_due(study, plan, {})
    assert preflight_if_due(study, plan, {each.experiment_id for each in plan.trainings}) is None, "nothing to train"


def test_a_job_that_leaves_no_result_is_a_failure_with_the_end_of_its_log(slurm, tmp_path, monkeypatch):
    monkeypatch.setattr(by_slurm, "_SETTLE_SECONDS", 0.01)
    study, item = planned(write_study(tmp_path, more='setup = ["echo no module cuda; exit 3"]'))
    result = train_on_devices(study, item, 2, output_dir=tmp_path / "runs")
    assert result.status == "failed"
    assert result.reason.startswith("job 1 of Slurm ended as FAILED without a result; the end of ")
    assert result.reason.endswith("\n  no module cuda")


def test_a_training_from_the_beginning_ends_the_job_that_goes_on_with_an_older_one(slurm, tmp_path, monkeypatch):
    """Its result would be taken for that of the training from the beginning."""
    monkeypatch.setattr(by_slurm, "_SETTLE_SECONDS", 0.01)
    study, item = planned(write_study(tmp_path, more='setup = ["exit 3"]'))
    older = queue.submit(write_script(tmp_path, "exec srun sleep 600"), slurm)
    note = tmp_path / "runs" / item.experiment_id / by_slurm.JOB_FILE
    write_json(note, {"schema": by_slurm.JOB_SCHEMA, "job": older})
    result = train_on_devices(study, item, 2, output_dir=tmp_path / "runs", resume=False)
    assert wait_for_end(older) == "CANCELLED by 0"
    assert result.reason.startswith("job 2 of Slurm ended as FAILED")


def test_a_result_that_comes_after_the_end_of_its_job_is_waited_for(slurm, tmp_path):
    """A file that a node has written is seen elsewhere some time later."""
    path = write_study(tmp_path)
    study, item = planned(path)
    alone = run_experiment(study, item, output_dir=tmp_path / "alone")
    left, place = (tmp_path / where / item.experiment_id / "result.json" for where in ("alone", "runs"))
    late = f"(sleep 1; cp {left} {place}) >/dev/null 2>&1 & exit 0"
    study, item = planned(write_study(tmp_path, more=f'setup = ["{late}"]'))
    assert train_on_devices(study, item, 2, output_dir=tmp_path / "runs") == alone


def test_a_queue_that_never_answers_is_not_asked_for_ever(slurm, tmp_path, monkeypatch):
    monkeypatch.setattr(by_slurm, "_UNANSWERED_SECONDS", 0.05)
    (tmp_path / "bin" / "squeue").write_text("#!/bin/sh\necho no such user >&2\nexit 1\n")
    study, item = planned(write_study(tmp_path, more='setup = ["exit 0"]'))
    said = r"squeue could not be asked about job 1 for .*: no such user; the job may go on: see that `squeue --jobs=1`"
    with pytest.raises(StudyError, match=said):
        train_on_devices(study, item, 2, output_dir=tmp_path / "runs")


def test_a_job_that_could_not_be_cancelled_is_not_said_to_be(slurm, tmp_path, monkeypatch):
    monkeypatch.setattr(by_slurm, "_STOP_SECONDS", 0.0)
    for command, line in (("squeue", "echo RUNNING"), ("scancel", "echo Unable to contact controller >&2; exit 1")):
        (tmp_path / "bin" / command).write_text(f"#!/bin/sh\n{line}\n")
    study, item = planned(write_study(tmp_path))
    asked = StopRequest()
    asked.number = signal.SIGTERM
    of = {"study": study, "experiment": item, "devices": 2, "directory": tmp_path, "siblings": (), "on_log": None}
    jobs = by_slurm._Jobs(**of, stop=asked)
    jobs._wait("7")
    result = jobs._left_by("7")
    assert result.status == "interrupted"
    assert (
        "its job 7 may go on, since scancel said: Unable to contact controller (`scancel 7` to end it)" in result.reason
    )


@pytest.mark.slow
def test_a_job_on_two_nodes_is_waited_for_again_cut_short_and_followed_by_another(slurm, tmp_path):
    """Who submitted it is killed; who comes next waits for the same job; that is ended, saves, and the next goes on."""
    path, runs = write_study(tmp_path), tmp_path / "runs"
    process, log = submitting(path, runs)
    process.kill()
    process.wait()
    (job,) = os.listdir(tmp_path / "jobs")
    study, item = planned(path)
    found, events = [], []
    waiting = threading.Thread(
        target=lambda: found.append(train_on_devices(study, item, 2, output_dir=runs, on_log=events.append))
    )
    waiting.start()
    wait_for(lambda: events, 300, "an event")
    assert os.listdir(tmp_path / "jobs") == [job], "it was not submitted again"
    queue.cancel(job, slurm)
    (tmp_path / "hold").unlink()
    waiting.join()
    assert wait_for_end(job).startswith("CANCELLED")
    assert sorted(os.listdir(tmp_path / "jobs")) == [job, "2"]
    (result,) = found
    alone = run_experiment(study, item, output_dir=tmp_path / "alone")
    assert (result.status, result.devices, result.steps) == ("completed", 2, alone.steps)
    assert result.loss == pytest.approx(alone.loss, rel=1e-5)
    steps = [line.split(",")[0] for line in log.read_text().splitlines()]
    assert len(steps) == len(set(steps))
    assert {event["devices"] for event in events if "loss" in event} == {2}


@pytest.mark.slow
def test_who_is_asked_to_stop_cancels_the_job_which_saves(slurm, tmp_path):
    path, runs = write_study(tmp_path), tmp_path / "my 'runs' #1"
    process, log = submitting(path, runs)
    process.send_signal(signal.SIGTERM)
    wait_for(lambda: stand_in_slurm.note("1", "cancelled"), 120, "the job to be cancelled")
    (tmp_path / "hold").unlink()
    assert process.wait() == -signal.SIGTERM
    assert wait_for_end("1").startswith("CANCELLED")
    left = ExperimentResult.load(log.parent / "result.json")
    assert (left.status, left.steps) == ("interrupted", 20)
    assert (log.parent / "slurm-1.log").exists()
    assert (log.parent / "checkpoint.safetensors").exists()
