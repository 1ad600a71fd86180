"""The figure of what each budget costs, with what is said of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from flops_fit.cost.by_budget import costs_by_budget, costs_text
from flops_fit.drawing.drawn import Drawn, NotDrawn, drawn

if TYPE_CHECKING:
    from flops_fit.cost.estimate import CostEstimate
    from flops_fit.drawing.shown_figure import ShownFigure
    from flops_fit.results.results import ExperimentResult
    from flops_fit.sweep.sweep_plan import SweepPlan

NAME = "cost"


def drawn_costs(
    plan: SweepPlan, results: Mapping[str, ExperimentResult], before: CostEstimate, now: CostEstimate
) -> dict[str, Drawn | NotDrawn]:
    """The figure by its name, or nothing where nothing was trained here; one that cannot be drawn is a note.

    Arguments as of `costs_by_budget`.
    """
    costs = costs_by_budget(plan, results, before, now)
    if not any(cost.trained for cost in costs):
        return {}
    caption = (
        "Left: FLOPs planned and done. Right: device time of all trainings of a budget as it was estimated before any "
        f"was finished ({before.basis}), what the finished ones took, and, where some are left, what all will have "
        "taken."
    )
    if before.shares:
        caption += (
            " What trainings of a size share counts once: at the one that trained it, or, of those still to train, at "
            "the longest."
        )

    def draw() -> ShownFigure:
        from flops_fit.cost.figures import cost_figure

        return cost_figure(costs)

    made = drawn(NAME, "cost by budget", draw, lambda: costs_text(costs), lambda: caption)
    return {NAME: made}
