"""One experiment on two processes is the same training as on one; what fails on one process fails on all, at once."""

import os
import subprocess
import sys
import time

import pytest
import torch
from paths import HELPERS, ROOT
from rank_training import train
from safetensors.torch import load_file
from tasks import run_tasks
from webdriver import free_port

from flops_fit import ExperimentResult, Study, run_experiment
from flops_fit.stages import study_plan, study_size_map

TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]


def torchrun(*arguments):
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join([str(ROOT), str(HELPERS)])}
    command = [*TORCHRUN, *map(str, arguments)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=180, check=False)


def together(function, payload):
    """What each of two processes returned: workers with the variables that `torchrun` sets, which start at once."""
    shared = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    ranks = [shared | {"RANK": rank, "LOCAL_RANK": rank, "LOCAL_WORLD_SIZE": "2"} for rank in ("0", "1")]
    ended = list(run_tasks(f"rank_training:{function}", [payload] * 2, num_workers=2, environments=ranks))
    assert [outcome.error for outcome in ended] == [None, None]
    return [outcome.value for outcome in sorted(ended, key=lambda outcome: outcome.index)]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Every scenario on two processes in one start of them: scenario → (folder, what each process returned)."""
    home = tmp_path_factory.mktemp("ranks")
    steps = [("plain", "plain"), ("resumed", "stop"), ("resumed", "plain"), ("parted", "parted")]
    steps += [("single", "single"), ("own", "own"), ("fails", "fails"), ("diverges", "diverges"), ("plain", "plain")]
    steps += [("sets", "sets"), ("trunk", "short"), ("trunk", "long"), ("asked", "asked")]
    for name, _ in steps:
        (home / name).mkdir(exist_ok=True)
    together("train_together", [(home / name, scenario) for name, scenario in steps])
    results = {}
    for name in dict(steps):
        results[name] = [ExperimentResult.load(home / name / f"returned-{rank}.json") for rank in (0, 1)]
        assert results[name][0] == results[name][1], "every process returns the same result"
    return home, {name: both[0] for name, both in results.items()}


def test_two_processes_go_on_from_a_trunk_and_leave_it_to_one(trained, tmp_path):
    home, results = trained
    long = results["trunk"]
    assert (long.status, long.trunk_tokens) == ("completed", 400)  # four fifths of the 500 of the shorter
    whole = train(tmp_path, "long")
    assert long.loss == pytest.approx(whole.loss, rel=1e-5)
    (home / "trunk" / "long" / "result.json").unlink()
    again = train(home / "trunk", "long")
    assert again.trunk_tokens == 400, "as much of others as before"
    assert again.loss == pytest.approx(whole.loss, rel=1e-5)


def weights(folder, rank=0):
    return load_file(folder / f"weights-{rank}.safetensors")


@pytest.mark.parametrize(
    ("name", "scenario"),
    [("plain",) * 2, ("resumed", "plain"), ("parted",) * 2, ("single",) * 2, ("own",) * 2],
)
def test_two_processes_train_what_one_does(trained, tmp_path, name, scenario):
    home, results = trained
    alone, together = train(tmp_path, scenario), results[name]
    assert together.status == alone.status == "completed", together.reason
    assert (together.num_tokens, together.steps) == (alone.num_tokens, alone.steps)
    assert together.loss == pytest.approx(alone.loss, rel=1e-5)
    assert together.train_loss == pytest.approx(alone.train_loss, rel=1e-4)
    for key, expected in weights(tmp_path).items():
        torch.testing.assert_close(weights(home / name)[key], expected, rtol=1e-3, atol=1e-4)


def test_every_set_and_metric_is_measured_once_for_all(trained, tmp_path):
    alone, together = train(tmp_path, "sets"), trained[1]["sets"]
    assert together.losses == pytest.approx(alone.losses, rel=1e-5)
    assert together.losses.keys() == {"first", "second"}
    assert together.metrics == pytest.approx(alone.metrics, abs=2e-3)
    assert together.metrics.keys() == {"accuracy_first", "accuracy_second"}
    assert together.measured_by == alone.measured_by


def test_one_process_writes_and_the_log_has_every_step_once(trained):
    home, results = trained
    folder = home / "resumed" / results["resumed"].experiment_id
    assert {path.name for path in folder.iterdir()} <= {"result.json", "log.jsonl", ".lock"}
    steps = [line.split(",")[0] for line in (folder / "log.jsonl").read_text().splitlines()]
    assert len(steps) == len(set(steps)) == results["resumed"].steps


def test_a_failure_in_one_process_is_the_result_in_all_with_its_reason(trained):
    _, results = trained
    assert results["fails"].status == "failed"
    assert results["fails"].reason.startswith("on rank 1 of 2: RuntimeError: bad memory in this machine")
    assert results["diverges"].status == "diverged"
    assert results["diverges"].reason.startswith("loss is")


def test_one_that_is_asked_to_stop_stops_all_at_the_same_step_and_one_process_goes_on(trained, tmp_path):
    home, results = trained
    assert (results["asked"].status, results["asked"].steps) == ("interrupted", 6)
    assert "on rank" not in results["asked"].reason
    resumed, whole = train(home / "asked", "asked"), train(tmp_path, "asked")
    assert (resumed.status, resumed.steps) == ("completed", whole.steps)
    assert resumed.loss == pytest.approx(whole.loss, rel=1e-5)


STUDY = """
name = "ranks"
[model]
factory = "rank_training:{model}"
size_param = "width"
size_values = [4, 8, 16, 32, 64]
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
checkpoint_seconds = 0.0
[hardware]
device = "cpu"
"""


def study_file(folder, model):
    """A study file in `folder`, the study, and the first experiment of its plan."""
    path = folder / "study.toml"
    path.write_text(STUDY.format(model=model))
    study = Study.from_toml(path)
    return path, study, study_plan(study, study_size_map(study)).experiments[0]


@pytest.mark.slow
def test_a_killed_process_ends_all_at_once_and_one_goes_on_from_the_checkpoint(tmp_path):
    path, study, experiment = study_file(tmp_path, "DiesOnRankOne")
    runs, name, began = tmp_path / "runs", experiment.experiment_id, time.perf_counter()
    ran = torchrun("-m", "flops_fit.distributed", path, name, "--output-dir", runs)
    assert ran.returncode != 0
    assert time.perf_counter() - began < 60, "nobody waited for the dead until a timeout"
    (checkpoint,) = runs.glob("*/checkpoint.safetensors")
    assert checkpoint.stat().st_size > 0
    resumed, whole = (run_experiment(study, experiment, output_dir=folder) for folder in (runs, tmp_path / "whole"))
    assert resumed.status == "completed"
    assert resumed.loss == pytest.approx(whole.loss, rel=1e-5)


def test_the_command_trains_one_experiment_of_a_study_file(tmp_path):
    path, _, experiment = study_file(tmp_path, "TinyMLP")
    name = experiment.experiment_id
    first, second = together("command", [str(path), name, "--output-dir", str(tmp_path / "runs")])
    result = ExperimentResult.load(tmp_path / "runs" / name / "result.json")
    assert first == (0, f"completed {name}: held-out loss {result.loss:.4f}\n")
    assert second == (0, ""), "the first process speaks for all"
