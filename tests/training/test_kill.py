"""`kill -9` at any moment, also while a checkpoint is being written: the result is the same to the bit."""

import json
import random
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from killed_training import kill_after, train_in_worker
from tiny_study import long_experiment, long_study

from flops_fit import run_experiment
from flops_fit.results.results import ExperimentResult


def kill(folder, step, delay):
    """Kill a training `delay` seconds after it has reported `step`; the last step that it had logged."""
    assert "was killed (signal 9, SIGKILL" in kill_after(folder, step, delay)
    lines = (folder / long_experiment().experiment_id / "log.jsonl").read_text().splitlines()
    return max(json.loads(line)["step"] for line in lines if line.endswith("}"))


@pytest.mark.parametrize("kills", [2, pytest.param(20, marks=pytest.mark.long)])
def test_killed_at_random_moments_the_result_is_the_same_to_the_bit(tmp_path, kills):
    whole = run_experiment(long_study(), long_experiment(), output_dir=tmp_path / "whole")
    chance = random.Random(7)
    for number in range(kills):
        folder = tmp_path / str(number)
        reached = 0
        for part in range(1 + number % 2):
            step = reached + chance.randint(10, whole.steps // (3 if part else 2))
            reached = kill(folder, step, chance.uniform(0.0, 0.05))
            assert 0 < reached < whole.steps, "killed before its end"
            assert not (folder / whole.experiment_id / "result.json").exists(), "killed before its end"
        resumed = run_experiment(long_study(), long_experiment(), output_dir=folder)
        assert (resumed.loss, resumed.weights_sha256) == (whole.loss, whole.weights_sha256), reached
        assert not list(folder.rglob("*.unusable*")), "an atomic write never leaves a torn file under its name"
        assert not list(folder.rglob(".*.tmp")), "what a killed write left behind is removed"
        stored = ExperimentResult.load(folder / whole.experiment_id / "result.json")
        assert stored == resumed


def test_the_same_experiment_given_to_two_processes_is_trained_once(tmp_path):
    begun = threading.Event()
    with ThreadPoolExecutor() as side:
        first = side.submit(train_in_worker, tmp_path, on_event=lambda *_: begun.set())
        assert begun.wait(120)
        second = run_experiment(long_study(), long_experiment(), output_dir=tmp_path)
        assert first.result() == second
    lines = (tmp_path / second.experiment_id / "log.jsonl").read_text().splitlines()
    steps = [line.split(",")[0] for line in lines]
    assert len(steps) == len(set(steps))
    assert ExperimentResult.load(tmp_path / second.experiment_id / "result.json") == second
