"""What each compute budget costs, drawn: planned, estimated and measured."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from flops_fit.cost.by_budget import BudgetCost
from flops_fit.drawing.axes import panels, points, power, powers_of_ten, ticks, tidy
from flops_fit.drawing.colours import BLUE, INK, ORANGE

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from flops_fit.drawing.shown_figure import ShownFigure

UNITS = ((86400.0, "days"), (3600.0, "hours"), (60.0, "minutes"), (1.0, "seconds"))


def cost_figure(costs: Sequence[BudgetCost]) -> ShownFigure:
    """FLOPs and device time against the budget."""
    figure, (flops, time) = panels(11.0, 4.2, 2, gap=1.0)
    longest = max(max(cost.seconds_before, cost.seconds_in_all) for cost in costs)
    unit, name = next(((size, name) for size, name in UNITS if longest >= 2 * size), UNITS[-1])
    left = any(cost.trained < cost.planned for cost in costs)
    _line(flops, costs, [cost.flops_planned for cost in costs], "planned", INK, "o--")
    _line(flops, costs, [cost.flops_done for cost in costs], "done", BLUE, "o")
    _line(time, costs, [cost.seconds_before / unit for cost in costs], "estimated before", INK, "o--")
    if left:
        in_all = [cost.seconds_in_all / unit for cost in costs]
        _line(time, costs, in_all, "taken and still to take", ORANGE, "^:")
    _line(time, costs, [cost.seconds_done / unit for cost in costs], "taken", BLUE, "o")
    flops.set(ylabel="FLOPs")
    time.set(ylabel=f"Device time ({name})")
    flops.set_title("FLOPs of each budget's trainings", loc="left")
    time.set_title("Device time of each budget's trainings", loc="left")
    ticks(flops, "y", power, factor=100)
    ticks(time, "y", lambda value: f"{value:g}", factor=100)
    for axes in (flops, time):
        budgets = [cost.compute_budget for cost in costs]
        axes.set(xlabel="Compute budget C (FLOPs)", xlim=(min(budgets) / 1.8, max(budgets) * 1.8))
        powers_of_ten(axes)
        tidy(axes)
        axes.legend(frameon=False, loc="upper left")
    return figure


def _line(axes: Axes, costs: Sequence[BudgetCost], values: Sequence[float], label: str, colour: str, form: str) -> None:
    """What is above 0: nothing done has no place on a logarithmic axis."""
    shown = [(cost, value) for cost, value in zip(costs, values, strict=True) if value > 0]
    hollow: dict[str, Any] = {"mfc": "white", "mec": colour} if form != "o" else {"mec": "white", "mew": 0.6, "ms": 7}
    axes.set_xscale("log")
    axes.set_yscale("log")
    budgets, heights = [cost.compute_budget for cost, _ in shown], [value for _, value in shown]
    style: dict[str, Any] = {"ms": 9, "lw": 1.2, "color": colour} | hollow
    points(axes, budgets, heights, form, [cost.in_words() for cost, _ in shown], **style, label=label)
