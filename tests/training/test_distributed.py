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

from flops_fit.results.results import ExperimentResult

TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]


def torchrun(*arguments, cwd=HELPERS):
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    command = [*TORCHRUN, *map(str, arguments)]
    return subprocess.run(
        command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=180, check=False
    )  # fmt: skip


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Every scenario on two processes in one start of them: scenario → (folder, what each process returned).

    They are worker processes with the variables that `torchrun` sets, since those start in an instant.
    """
    home = tmp_path_factory.mktemp("ranks")
    steps = [("plain", "plain"), ("resumed", "stop"), ("resumed", "plain"), ("parted", "parted")]
    steps += [("single", "single"), ("fails", "fails"), ("diverges", "diverges"), ("plain", "plain")]
    for name, _ in steps:
        (home / name).mkdir(exist_ok=True)
    payload = [(home / name, scenario) for name, scenario in steps]
    shared = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    ranks = [shared | {"RANK": rank, "LOCAL_RANK": rank, "LOCAL_WORLD_SIZE": "2"} for rank in ("0", "1")]
    ended = run_tasks("rank_training:train_together", [payload] * 2, num_workers=2, environments=ranks)
    assert [outcome.error for outcome in ended] == [None, None]
    results = {}
    for name in dict(steps):
        results[name] = [ExperimentResult.load(home / name / f"returned-{rank}.json") for rank in (0, 1)]
        assert results[name][0] == results[name][1], "every process returns the same result"
    return home, {name: both[0] for name, both in results.items()}


def weights(folder, rank=0):
    return load_file(folder / f"weights-{rank}.safetensors")


@pytest.mark.parametrize(("name", "scenario"), [("plain",) * 2, ("resumed", "plain"), ("parted",) * 2, ("single",) * 2])
def test_two_processes_train_what_one_does(trained, tmp_path, name, scenario):
    home, results = trained
    alone, together = train(tmp_path, scenario), results[name]
    assert together.status == alone.status == "completed", together.reason
    assert (together.num_tokens, together.steps) == (alone.num_tokens, alone.steps)
    assert together.loss == pytest.approx(alone.loss, rel=1e-5)
    assert together.train_loss == pytest.approx(alone.train_loss, rel=1e-4)
    for key, expected in weights(tmp_path).items():
        torch.testing.assert_close(weights(home / name)[key], expected, rtol=1e-3, atol=1e-4)


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


def test_a_killed_process_ends_all_at_once_and_one_goes_on_from_the_checkpoint(tmp_path):
    began = time.perf_counter()
    ran = torchrun("rank_training.py", tmp_path / "killed", "dies")
    assert ran.returncode != 0
    assert time.perf_counter() - began < 60, "nobody waited for the dead until a timeout"
    (checkpoint,) = (tmp_path / "killed").glob("*/checkpoint.safetensors")
    assert checkpoint.stat().st_size > 0
    (tmp_path / "whole").mkdir()
    resumed, whole = train(tmp_path / "killed", "plain"), train(tmp_path / "whole", "plain")
    assert resumed.status == "completed"
    assert resumed.loss == pytest.approx(whole.loss, rel=1e-5)


STUDY = """
name = "ranks"
[model]
factory = "tiny_study:TinyMLP"
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
[hardware]
device = "cpu"
"""


def test_the_command_trains_one_experiment_of_a_study_file(tmp_path):
    from flops_fit import Study
    from flops_fit.stages import study_plan, study_size_map

    path = tmp_path / "study.toml"
    path.write_text(STUDY)
    (tmp_path / "tiny_study.py").write_text((HELPERS / "tiny_study.py").read_text())
    study = Study.from_toml(path)
    name = study_plan(study, study_size_map(study)).experiments[0].experiment_id
    ran = torchrun("-m", "flops_fit.distributed", path, name, "--output-dir", tmp_path / "runs", cwd=tmp_path)
    assert ran.returncode == 0, ran.stderr[-3000:]
    result = ExperimentResult.load(tmp_path / "runs" / name / "result.json")
    assert f"completed {name}: held-out loss {result.loss:.4f}" in ran.stdout
