"""What each compute budget of a plan was said to cost, has cost, and will have cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from flops_fit.basics.formatting import format_flops, format_seconds
from flops_fit.cost.estimate import CostEstimate

if TYPE_CHECKING:
    from flops_fit.results.results import ExperimentResult
    from flops_fit.sweep.sweep_plan import SweepPlan


@dataclass(frozen=True, kw_only=True)
class BudgetCost:
    """One compute budget; seconds are of one device. What experiments share counts once, as in `Spending`.

    Attributes:
        planned, trained: experiments; imported ones were trained elsewhere and count in neither.
        flops_planned, flops_done: of all of them, and of the trained ones as done.
        seconds_before: what all were estimated to take before any was finished.
        seconds_done: what the trained ones took.
        seconds_in_all: the same, and what is left as estimated now.
    """

    compute_budget: float
    planned: int
    trained: int
    flops_planned: float
    flops_done: float
    seconds_before: float
    seconds_done: float
    seconds_in_all: float

    def in_words(self) -> str:
        """A line or two for who points at it."""
        left = "" if self.trained == self.planned else f", {format_seconds(self.seconds_in_all)} in all"
        return (
            f"{format_flops(self.compute_budget)} FLOPs: {self.trained} of {self.planned} trained\n"
            f"{format_flops(self.flops_done)} of {format_flops(self.flops_planned)} FLOPs done\n"
            f"estimated {format_seconds(self.seconds_before)}, took {format_seconds(self.seconds_done)}{left}"
        )


def costs_by_budget(
    plan: SweepPlan, results: Mapping[str, ExperimentResult], before: CostEstimate, now: CostEstimate
) -> list[BudgetCost]:
    """The budgets of `plan`, checks included, ascending; without those of which all is imported.

    `before` is what was estimated without learning from any finished run, `now` from those there are. Of `results`, by
    id, the final ones count.
    """
    final = {name: result for name, result in results.items() if result.is_final}
    found = []
    for budget in sorted(set(plan.compute_budgets)):
        ours = [item for item in plan.trainings if item.compute_budget == budget]
        ours = [item for item in ours if (known := final.get(item.experiment_id)) is None or known.source == "trained"]
        done = [final[item.experiment_id] for item in ours if item.experiment_id in final]
        left = [item.experiment_id for item in ours if item.experiment_id not in final]
        took = sum(result.device_seconds for result in done)
        if ours:
            found.append(
                BudgetCost(
                    compute_budget=budget,
                    planned=len(ours),
                    trained=len(done),
                    flops_planned=float(sum(map(before.own_flops, ours))),
                    flops_done=float(sum(result.own_flops for result in done)),
                    seconds_before=sum(before.seconds[item.experiment_id] for item in ours),
                    seconds_done=took,
                    seconds_in_all=took + sum(now.seconds[name] for name in left),
                )
            )
    return found


def costs_text(costs: Sequence[BudgetCost]) -> str:
    """What the figure shows, in words and numbers, for who cannot see it."""
    each = [
        f"{format_flops(cost.compute_budget)} FLOPs: estimated {format_seconds(cost.seconds_before)}, took "
        f"{format_seconds(cost.seconds_done)} for {cost.trained} of {cost.planned} trainings"
        for cost in costs
    ]
    done, planned = (sum(getattr(cost, name) for cost in costs) for name in ("flops_done", "flops_planned"))
    return f"{format_flops(done)} of {format_flops(planned)} planned FLOPs are done. {'; '.join(each)}."
