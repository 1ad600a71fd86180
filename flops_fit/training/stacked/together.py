"""What a worker does with experiments that were given to it together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from flops_fit.results.results import ExperimentResult
from flops_fit.training.log_events import OnLog
from flops_fit.training.stacked.decision import Decision

if TYPE_CHECKING:
    from flops_fit.study.study import Study
    from flops_fit.sweep.experiment import Experiment


@dataclass(frozen=True, kw_only=True)
class Together:
    """The results of experiments in their order, and what was decided about training them at once, if anything."""

    results: Sequence[ExperimentResult]
    decision: Decision | None = None


def train_together(
    study: Study,
    experiments: Sequence[Experiment],
    train: Callable[[Experiment, bool], ExperimentResult],
    *,
    output_dir: Path,
    resume: bool = True,
    on_log: OnLog | None = None,
) -> Together:
    """Take all steps of several experiments at once, where that can be done and pays; then end each by
    `train(experiment, resume)`, which trains it alone from where it is.
    """
    from flops_fit.basics.devices import cap_memory

    cap_memory(study.hardware.processes_per_gpu)
    if len(experiments) == 1:
        return Together(results=[train(experiments[0], resume)])
    from flops_fit.training.stacked.advance import advance

    decision = advance(study, experiments, output_dir=output_dir, resume=resume, on_log=on_log)
    return Together(results=[train(experiment, True) for experiment in experiments], decision=decision)
