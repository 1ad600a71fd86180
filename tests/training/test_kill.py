"""`kill -9` at any moment, also while a checkpoint is being written: the result is the same to the bit."""

import random
import signal
import subprocess
import sys
import time

import pytest
from paths import HELPERS
from tiny_study import long_experiment, long_study

from flops_fit import run_experiment
from flops_fit.results.results import ExperimentResult

TRAIN = """
import sys, torch
sys.path.insert(0, sys.argv[1])
from tiny_study import long_study, long_experiment
from flops_fit import run_experiment
torch.set_num_threads(1)
study = long_study(); study.prepared_data
print("ready", flush=True)
run_experiment(study, long_experiment(), output_dir=sys.argv[2])
"""


def start(folder):
    command = [sys.executable, "-c", TRAIN, str(HELPERS), str(folder)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "ready\n"
    return process


def kill_then_resume(folder, delays):
    for delay in delays:
        with start(folder) as process:
            time.sleep(delay)
            process.send_signal(signal.SIGKILL)
    return run_experiment(long_study(), long_experiment(), output_dir=folder)


@pytest.mark.parametrize("kills", [3, pytest.param(20, marks=pytest.mark.slow)])
def test_killed_at_random_moments_the_result_is_the_same_to_the_bit(tmp_path, kills):
    began = time.perf_counter()
    whole = run_experiment(long_study(), long_experiment(), output_dir=tmp_path / "whole")
    span = time.perf_counter() - began
    chance = random.Random(7)
    interrupted = 0
    for number in range(kills):
        folder = tmp_path / str(number)
        delays = [chance.uniform(0.0, 0.9 * span) for _ in range(1 + number % 2)]
        resumed = kill_then_resume(folder, delays)
        interrupted += resumed.seconds > 0
        assert (resumed.loss, resumed.weights_sha256) == (whole.loss, whole.weights_sha256), delays
        assert not list(folder.rglob("*.unusable*")), "an atomic write never leaves a torn file under its name"
        assert not list(folder.rglob(".*.tmp")), "what a killed write left behind is removed"
        stored = ExperimentResult.load(folder / whole.experiment_id / "result.json")
        assert stored == resumed
    assert interrupted == kills


def test_the_same_experiment_given_to_two_processes_is_trained_once(tmp_path):
    first = start(tmp_path)
    time.sleep(0.1)
    second = run_experiment(long_study(), long_experiment(), output_dir=tmp_path)
    with first:
        assert first.wait() == 0
    lines = (tmp_path / second.experiment_id / "log.jsonl").read_text().splitlines()
    steps = [line.split(",")[0] for line in lines]
    assert len(steps) == len(set(steps))
    assert ExperimentResult.load(tmp_path / second.experiment_id / "result.json") == second
