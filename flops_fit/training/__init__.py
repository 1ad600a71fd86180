"""One experiment becomes one result: the loop, its checkpoints, its failures, and many of them side by side."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flops_fit.basics.lazy import lazy_names

_MODULES = {
    "LogEvent": "log_events",
    "OnLog": "log_events",
    "StudyProgress": "progress",
    "describe_failure": "failures",
    "run_experiment": "training_run",
    "run_external": "by_command",
    "train_all": "side_by_side",
}

__all__ = [*_MODULES]

if TYPE_CHECKING:
    from flops_fit.training.by_command import run_external as run_external
    from flops_fit.training.failures import describe_failure as describe_failure
    from flops_fit.training.log_events import LogEvent as LogEvent
    from flops_fit.training.log_events import OnLog as OnLog
    from flops_fit.training.progress import StudyProgress as StudyProgress
    from flops_fit.training.side_by_side import train_all as train_all
    from flops_fit.training.training_run import run_experiment as run_experiment

__getattr__, __dir__ = lazy_names(__name__, _MODULES)
