"""Tasks that the tests give to worker processes (they must be importable there)."""

import os
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
