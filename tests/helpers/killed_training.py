"""Trainings in worker processes that are killed in the middle."""

import os
import signal
import time

from tasks import run_tasks
from tiny_study import long_experiment, long_study

from flops_fit import run_experiment
from flops_fit.training import loop

STEPS_MORE = 25


def train(payload, emit):
    """The task of the worker: says its process once it has reported the step `told`; does not get beyond `last`."""
    folder, told, last, recipe = payload
    loop._LOG_SECONDS = 0.0  # so that every step is reported

    def report(event):
        if event["step"] == told:
            emit({"process": os.getpid()})
        if event["step"] == last:  # so that it cannot come to its end, however long the killer takes
            time.sleep(600)

    return run_experiment(long_study(**recipe), long_experiment(), output_dir=folder, on_log=report)


def kill_after(folder, step, delay, **recipe):
    """Kill a training `delay` seconds after it has reported `step`; what its pool says of it.

    `recipe` has options of it that are other than usual.
    """

    def kill(_, event):
        time.sleep(delay)
        os.kill(event["process"], signal.SIGKILL)

    payload = (folder, step, step + STEPS_MORE, recipe)
    (outcome,) = run_tasks("killed_training:train", [payload], num_workers=1, on_event=kill)
    return outcome.error


def train_in_worker(folder, on_event=None):
    """The result of a training that goes to its end; `on_event` is called after its first step."""
    (outcome,) = run_tasks("killed_training:train", [(folder, 1, None, {})], num_workers=1, on_event=on_event)
    assert outcome.error is None, outcome.error
    return outcome.value
