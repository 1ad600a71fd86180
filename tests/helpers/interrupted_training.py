"""Trainings that are asked to stop in the middle."""

import os
import signal
import time
from unittest import mock

from tiny_study import long_experiment, long_study

from flops_fit import run_experiment
from flops_fit.training import loop

STEP = 30


def never_saving():
    """The long study, which saves nothing by itself."""
    return long_study(checkpoint_seconds=1e9)


def run_asking(folder, number, *, step=STEP, times=1):
    """The result of a training whose own process gets that signal at `step`."""

    def ask(event):
        if event["step"] == step and "loss" in event:
            for _ in range(times):
                os.kill(os.getpid(), number)

    with mock.patch.object(loop, "_LOG_SECONDS", 0.0):  # so that every step is reported
        return run_experiment(never_saving(), long_experiment(), output_dir=folder, on_log=ask)


def train_slowly(folder, emit):
    """The task of a worker: says so at a step, and takes its time from then on."""
    loop._LOG_SECONDS = 0.0

    def report(event):
        if event["step"] == STEP:
            emit({"at": STEP})
        if event["step"] >= STEP and "loss" in event:
            time.sleep(0.2)

    assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN
    return run_experiment(never_saving(), long_experiment(), output_dir=folder, on_log=report)
