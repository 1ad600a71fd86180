"""What every training has around it, whoever does the steps: its folder, its lock, and a result however it ends."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from flops_fit.basics.files import remove_temporary
from flops_fit.processes.waited_locks import held
from flops_fit.results.finished import LOCK_FILE, load_finished
from flops_fit.results.results import RESULT_FILE, ExperimentResult, failed_result
from flops_fit.sweep.experiment import Experiment
from flops_fit.training.checkpoint import CHECKPOINT_FILE
from flops_fit.training.failures import describe_failure
from flops_fit.training.log_events import Guarded, OnLog, finished_event


def attempt(
    experiment: Experiment,
    directory: Path,
    train: Callable[[OnLog | None], ExperimentResult],
    *,
    resume: bool,
    on_log: OnLog | None,
    peak: float | None = None,
) -> ExperimentResult:
    """The result of `train`, also written to `directory`; with `resume` a final one that is there already instead.

    A second process with the same experiment waits, then reads the result. Errors outside the training (a folder that
    cannot be made, a disk too full for the lock or the result) become the result's status too. `train` gets `on_log`,
    guarded against its own errors, and `on_log` hears of the end, with `peak` (FLOP/s) as in `finished_event`.
    """
    hook, own = Guarded(on_log) if on_log else None, os.getpid()
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with held(directory / LOCK_FILE):
            if resume and (finished := load_finished(directory, experiment)) is not None:
                return finished
            remove_temporary(directory)
            result = train(hook)
            if os.getpid() != own:  # a copy that the user's code forked, and that came back from there
                os._exit(1)
            result.save(directory / RESULT_FILE)
            if result.is_final:  # anything else may go on from its checkpoint once the cause is gone
                (directory / CHECKPOINT_FILE).unlink(missing_ok=True)
    except (Exception, SystemExit) as error:  # one experiment's trouble must not end the others
        status, reason = describe_failure(error)
        result = failed_result(experiment, reason, status=status)
    if hook:
        hook(finished_event(experiment, result, peak=peak))
    return result
