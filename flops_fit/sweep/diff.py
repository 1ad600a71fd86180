"""What changes between two plans, and what the change costs."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from flops_fit.basics.formatting import format_flops
from flops_fit.sweep.experiment import Experiment


@dataclass(frozen=True, kw_only=True)
class PlanDiff:
    """Experiments by what became of them, matched by id: equal ids are equal trainings, and what is kept is free."""

    added: tuple[Experiment, ...]
    removed: tuple[Experiment, ...]
    kept: tuple[Experiment, ...]

    @property
    def added_flops(self) -> float:
        """FLOPs still to be spent on what was added."""
        return _flops(self.added)

    @property
    def removed_flops(self) -> float:
        """FLOPs that are no longer planned."""
        return _flops(self.removed)

    def __str__(self) -> str:
        return (
            f"{len(self.added)} added ({format_flops(self.added_flops)} FLOPs), "
            f"{len(self.removed)} removed ({format_flops(self.removed_flops)} FLOPs), {len(self.kept)} kept"
        )


def diff_plans(before: Iterable[Experiment], after: Iterable[Experiment]) -> PlanDiff:
    """How to get from the experiments `before` to those `after`."""
    old = {experiment.experiment_id: experiment for experiment in before}
    new = {experiment.experiment_id: experiment for experiment in after}
    return PlanDiff(
        added=tuple(experiment for name, experiment in new.items() if name not in old),
        removed=tuple(experiment for name, experiment in old.items() if name not in new),
        kept=tuple(experiment for name, experiment in new.items() if name in old),
    )


def _flops(experiments: Iterable[Experiment]) -> float:
    return sum(experiment.planned_flops for experiment in experiments)
