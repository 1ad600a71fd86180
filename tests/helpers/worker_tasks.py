"""Tasks that the tests give to worker processes (they must be importable there)."""

import os
import random
import signal
import time


def square(payload, emit):
    emit({"seen": payload})
    return payload * payload


def visible_gpus(payload, emit):
    time.sleep(0.3)  # so that every worker gets its share
    return os.environ.get("CUDA_VISIBLE_DEVICES")


def go_wrong(payload, emit):
    if payload == "fail":
        raise ValueError("refused")
    if payload == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    if payload == "exit":
        os._exit(3)
    return payload


def process_and_threads(payload, emit):
    import torch

    time.sleep(0.2)
    return os.getpid(), torch.get_num_threads()


def add_shared(payload, emit, shared):
    return payload + shared["offset"]


def print_much(payload, emit):
    print("noise on standard output " * 1000)
    return payload


def random_numbers(payload, emit):
    import numpy

    time.sleep(0.2)  # so that every worker gets its share
    return os.getpid(), (random.random(), numpy.random.random())  # noqa: NPY002 - the state that all share


def surroundings(payload, emit):
    return os.getcwd(), os.environ.get("OF_THE_TEST")


def grandparent(payload, emit):
    """The process that workers are forked from; between it and a worker is the one that waits for it."""
    from pathlib import Path

    return int(Path(f"/proc/{os.getppid()}/stat").read_text().rsplit(")", 1)[1].split()[1])
