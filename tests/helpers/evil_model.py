"""A model that does something awkward in the middle of a training: what, and to whom, the environment says.

EVIL names what; EVIL_ONCE a file that keeps it from doing so a second time. Models below 60 wide behave.
"""

import ctypes
import os
import signal
import sys
import time

import torch
from tiny_study import TinyMLP

_AFTER_STEPS = 4


def crash():
    ctypes.string_at(0)


def abort():
    os.abort()


def exit_now():
    os._exit(0)


def sys_exit():
    sys.exit(0)


def killed():
    os.kill(os.getpid(), signal.SIGKILL)


def hang():
    while True:
        pass


def sleep():
    time.sleep(3600)


def fork():
    os.fork()


def write_everywhere():
    for number in range(3, 64):
        try:
            os.write(number, b"garbage " * 8)
        except OSError:
            continue


def close_everything():
    os.closerange(3, 256)


def close_output():
    sys.stdout.close()
    sys.stderr.close()


def close_descriptors_of_output():
    os.close(1)
    os.close(2)


def move_away():
    os.chdir("/")


def change_settings():
    torch.set_default_dtype(torch.float64)
    torch.use_deterministic_algorithms(True)


def change_environment():
    os.environ.clear()


def reseed():
    torch.manual_seed(1)


def say_much():
    raise RuntimeError("x" * 5_000_000)


def say_control_characters():
    raise RuntimeError("\x1b[31m\x00 [/red] [bold] \ud800")


def run_out_of_memory():
    raise MemoryError


def recurse():
    recurse()


def interrupt():
    raise KeyboardInterrupt


def raise_base():
    raise BaseException("neither an error nor an exit")


class Evil(TinyMLP):
    def __init__(self, width, dropout=0.0):
        super().__init__(width, dropout)
        self.width, self.steps = width, 0

    def forward(self, inputs):
        self.steps += self.training and inputs.device.type != "meta"
        if self.steps == _AFTER_STEPS and self.width >= 60:
            self._misbehave()
        return super().forward(inputs)

    def _misbehave(self):
        what, once = os.environ.get("EVIL"), os.environ.get("EVIL_ONCE")
        if what and not (once and os.path.exists(once)):
            if once:
                open(once, "w").close()
            if what == "run_out_of_memory":  # also for half the batch, for a quarter ...
                self.steps -= 1
            globals()[what]()
