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


def keep_state(payload, emit):
    """`misbehave` in a block after which all is as before."""
    from flops_fit.processes.process_state import process_state_kept

    with process_state_kept():
        return misbehave(payload, emit)


def misbehave(payload, emit):
    """Do to this process what `payload` says, and return what a well-behaved task after it can see."""
    import sys

    import torch

    if payload == "write to every descriptor":
        for number in range(3, 64):
            try:
                os.write(number, b"garbage " * 8)
            except OSError:
                continue
    if payload == "close every descriptor":
        os.closerange(3, 256)
        time.sleep(30)
    if payload == "fork and come back":
        os.fork()
    if payload == "hang":
        while True:
            pass
    if payload == "crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    if payload == "change everything":
        os.chdir("/")
        os.environ["FLOPS_FIT_LEFT_BEHIND"] = "1"
        torch.set_default_dtype(torch.float64)
        torch.set_grad_enabled(False)
        torch.use_deterministic_algorithms(True)
        torch.nn.modules.module.register_module_forward_hook(print)
        sys.stdout.close()
        os.close(2)
    else:
        print("said on standard output")
    settings = [str(torch.get_default_dtype()), torch.is_grad_enabled(), torch.are_deterministic_algorithms_enabled()]
    hooks = len(torch.nn.modules.module._global_forward_hooks)
    return [payload, os.getcwd(), os.environ.get("FLOPS_FIT_LEFT_BEHIND"), *settings, hooks]


def keep_precision(payload, emit):
    """Matmul precisions before, in and after a block whose state is kept, in a process that uses torch's newer ones."""
    import torch

    from flops_fit.processes.process_state import process_state_kept

    def now():
        return torch.backends.cuda.matmul.fp32_precision, torch.backends.mkldnn.matmul.fp32_precision

    if payload == "newer":
        torch.backends.cuda.matmul.fp32_precision = "tf32"
    seen = [now()]
    with process_state_kept():
        if payload == "newer":
            torch.backends.cuda.matmul.fp32_precision = torch.backends.mkldnn.matmul.fp32_precision = "ieee"
        else:
            torch.set_float32_matmul_precision("high")
        seen.append(now())
    return [*seen, now()]


def die_once(payload, emit):
    """Crash the first time that the file `payload` names is not there."""
    if not os.path.exists(payload):
        open(payload, "w").close()
        os.abort()
    return payload


def hang_between_signs_of_life(payload, emit):
    from flops_fit.processes.alive import still_alive

    for _ in range(6):
        time.sleep(0.5)
        still_alive()
    return payload


def send_numbers(pipe):
    """Send the next random number of this process, and that of a process that it forks before."""
    import numpy

    ours, theirs = os.pipe()
    if os.fork() == 0:
        os.write(theirs, str(numpy.random.random()).encode())  # noqa: NPY002 - the state that all share
        os._exit(0)
    os.wait()
    pipe.send((numpy.random.random(), float(os.read(ours, 100))))  # noqa: NPY002
