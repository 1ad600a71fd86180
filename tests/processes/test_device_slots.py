"""Devices are held by who trains on them, several at once, and nobody who needs several is passed by for ever."""

import subprocess
import sys
import threading

import pytest

from flops_fit.processes import device_slots
from flops_fit.processes.device_slots import devices_held

HOLD = """
import sys, pathlib
from flops_fit.processes.device_slots import devices_held
with devices_held(pathlib.Path(sys.argv[1]), "cpu", 3, 2) as held:
    print(*held, flush=True)
    sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def often(monkeypatch):
    monkeypatch.setattr(device_slots, "_POLL_SECONDS", 0.01)


def test_no_device_is_held_twice(tmp_path):
    with devices_held(tmp_path, "cpu", 3, 2) as first, devices_held(tmp_path, "cpu", 3) as second:
        assert sorted((*first, *second)) == [0, 1, 2]
    with devices_held(tmp_path, "cpu", 3, 3) as again:
        assert sorted(again) == [0, 1, 2]


def test_its_own_is_among_them(tmp_path):
    with devices_held(tmp_path, "gpu", 4, 2, own=3) as held:
        assert 3 in held
        assert len(set(held)) == 2


def test_other_kinds_are_other_devices(tmp_path):
    with devices_held(tmp_path, "cpu", 1), devices_held(tmp_path, "gpu", 1) as held:
        assert held == (0,)


def test_more_than_there_are_cannot_be_held(tmp_path):
    with pytest.raises(ValueError, match="3 devices of 2 cannot be held"), devices_held(tmp_path, "cpu", 2, 3):
        pass


def test_a_killed_process_gives_back_all_that_it_held(tmp_path):
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with holder:
        assert holder.stdout.readline() == "0 1\n"
        holder.kill()
        holder.wait()
    with devices_held(tmp_path, "cpu", 3, 3) as held:
        assert len(held) == 3


def test_who_waits_for_several_is_not_passed_by_those_who_come_later(tmp_path):
    order, waiting = [], threading.Event()

    def take(name, count):
        waiting.set()
        with devices_held(tmp_path, "cpu", 2, count):
            order.append(name)

    with devices_held(tmp_path, "cpu", 2):
        both = threading.Thread(target=take, args=("both", 2))
        both.start()
        waiting.wait(30)
        door = device_slots.FileLock(tmp_path / ".cpu-next.lock")
        while device_slots._is_taken(door):  # until it stands in the door
            door.release()
        one = threading.Thread(target=take, args=("one", 1))
        one.start()
        one.join(0.2)
        assert order == [], "one device is free, and kept for who has waited longer"
    for thread in (both, one):
        thread.join(30)
    assert order == ["both", "one"]
