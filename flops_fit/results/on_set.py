"""Results as those of one of several named held-out sets: the loss that a law of that set is fitted to."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from flops_fit.basics.diagnostic import Diagnostic
from flops_fit.results.results import ExperimentResult


@dataclass(frozen=True, kw_only=True)
class HeldOutSet:
    """A named held-out set: `fingerprint` is that of its data as the study has it now, and `is_first` says that
    experiments' ids cover it, so that no result can be of another; `by_trainer` that a trainer reports its loss."""

    name: str
    fingerprint: str
    is_first: bool
    by_trainer: bool = False

    def lacks(self, result: ExperimentResult) -> str:
        """Why `result`, which completed, has no loss on this set; "" where it has."""
        if self.is_first:
            return ""
        if self.name not in result.losses:
            return f"it ended before held-out set {self.name} was added"
        if result.measured_by.get(self.name) != self.fingerprint:
            return f"its loss on {self.name} is of other data than {self.name} has now"
        return ""

    def taken(self, result: ExperimentResult) -> ExperimentResult:
        """`result` with this set's loss as its own; without one as failed, with why."""
        if result.loss is None or self.is_first:
            return result
        if why := self.lacks(result):
            return replace(result, status="failed", loss=None, reason=f"left out: {why}; {self.remedy}")
        return replace(result, loss=result.losses[self.name])

    @property
    def remedy(self) -> str:
        """How to have the loss after all: weights are not kept, so that it takes the trainings again."""
        if self.by_trainer:
            return (
                f"change version in [trainer], so that all are trained again and report {self.name}, or import results "
                f"with a column loss_{self.name}"
            )
        return (
            f"weights are not kept, so it has to be trained again: name {self.name} first in [data.eval], which gives "
            "every experiment a new id (in Python also resume=False)"
        )

    def missing(self, results: Iterable[ExperimentResult]) -> str:
        """How many of `results` completed without a loss on this set, and what to do; "" where none did."""
        completed = [result for result in results if result.loss is not None]
        why = [reason for reason in map(self.lacks, completed) if reason]
        if not why:
            return ""
        more = "" if len(set(why)) == 1 else ", and the like"
        return f"{len(why)} of {len(completed)} results have no loss on {self.name} ({why[0]}{more})"

    def findings(self, results: Iterable[ExperimentResult]) -> list[Diagnostic]:
        """What a law of this set should say of results that it could not use."""
        said = self.missing(results)
        if not said:
            return []
        remedy = self.remedy
        return [Diagnostic(code="not_on_this_set", severity="info", message=said, remedy=remedy)]
