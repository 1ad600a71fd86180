"""Trainings that Dagster launches side by side take a GPU each; the machine's GPUs are made up, the locks are not."""

import subprocess
import sys
from contextlib import ExitStack

import pytest
import torch

from flops_fit import Hardware
from flops_fit_assets.instance.gpus import gpu_of_its_own

HOLD = """
import sys, pathlib
import torch
torch.cuda.is_available, torch.cuda.device_count = (lambda: True), (lambda: 2)
torch.cuda.set_device = lambda index: None
from flops_fit_assets.instance.gpus import gpu_of_its_own
with gpu_of_its_own(pathlib.Path(sys.argv[1]), "auto") as index:
    print(index, flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def two_gpus(monkeypatch):
    """A machine with two; the list of those that a process made its own."""
    chosen = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", chosen.append)
    return chosen


def test_trainings_side_by_side_take_different_gpus_and_give_them_back(tmp_path, two_gpus):
    with gpu_of_its_own(tmp_path, "auto") as first, gpu_of_its_own(tmp_path, "cuda") as second:
        assert (first, second) == (0, 1)
    with gpu_of_its_own(tmp_path, "auto") as again:
        assert again == 0
    assert two_gpus == [0, 1, 0]


def test_a_killed_process_gives_its_gpu_back(tmp_path, two_gpus):
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with holder:
        assert holder.stdout.readline() == "0\n"
        with gpu_of_its_own(tmp_path, "auto") as beside:
            assert beside == 1
        holder.kill()
        holder.wait()
    with gpu_of_its_own(tmp_path, "auto") as after:
        assert after == 0


@pytest.mark.parametrize(("device", "count"), [("cpu", 2), ("cuda:1", 2), ("auto", 1)])
def test_without_several_to_choose_from_nothing_is_held(tmp_path, two_gpus, monkeypatch, device, count):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
    with gpu_of_its_own(tmp_path, device) as index:
        assert index is None
    assert list(tmp_path.iterdir()) == []
    assert two_gpus == []


def test_where_several_share_a_gpu_each_has_a_place_and_its_part_of_the_memory(tmp_path, two_gpus, monkeypatch):
    shares = []
    monkeypatch.setattr(torch.cuda, "set_per_process_memory_fraction", shares.append)
    with ExitStack() as held:
        taken = [held.enter_context(gpu_of_its_own(tmp_path, "auto", 2)) for _ in range(4)]
    assert taken == [0, 1, 0, 1]
    assert shares == [0.475] * 4
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with gpu_of_its_own(tmp_path, "auto", 3) as index:
        assert index is None
    assert shares[4:] == [pytest.approx(0.95 / 3)]
    assert Hardware(device="cuda", trainings_per_device=3).num_workers() == 3
