"""The training curves of a study, drawn."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from flops_fit.drawing.axes import budget_colours, panels, points, power, powers_of_ten, tidy
from flops_fit.drawing.colours import INK, RED
from flops_fit.loss_curves.curve_data import CurvesData, DrawnCurve, curves_data
from flops_fit.loss_curves.curves import RUNNING, LossCurve

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from flops_fit.drawing.shown_figure import ShownFigure

FEW_CURVES = 40  # up to which lines are as thick as others
MOST_NAMED = 8  # budgets in the legend
EARLY = 0.01  # of the smallest budget: where the picture begins
WIDE = 10.0  # from the lowest to the highest loss, beyond which the axis is logarithmic


def curves_figure(curves: Sequence[LossCurve], loss_unit: str = "") -> ShownFigure:
    """Loss against FLOPs of every training, by budget, with the lowest of all and the held-out losses at the end.

    `curves` as `load_curves` or `study_curves` gives them, at least one.
    """
    data = curves_data(curves)
    figure, (axes,) = panels(9.6, 5.2, 1, right=2.5)
    colour_of = budget_colours(data.budgets)
    thin = len(curves) > FEW_CURVES
    for budget in data.budgets:
        own = [curve for curve in data.curves if curve.compute_budget == budget]
        _draw_budget(axes, own, colour_of(budget), thin)
    unfinished = _draw_unfinished(axes, data)
    end = max(curve.flops[-1] for curve in data.curves)
    lowest = np.append(data.envelope_flops, end), np.append(data.envelope_loss, data.envelope_loss[-1])
    axes.step(*lowest, where="post", color=INK, lw=1.4, zorder=4)
    axes.set_xscale("log")
    _limits(axes, data)
    powers_of_ten(axes)
    unit = f" ({loss_unit})" if loss_unit else ""
    axes.set(xlabel="Compute C spent so far (FLOPs)", ylabel=f"Training loss{unit}")
    axes.set_title(f"Training curves of {len(curves)} trainings", loc="left")
    tidy(axes)
    _legend(figure, axes, data, colour_of, unfinished)
    return figure


def _draw_budget(axes: Axes, curves: Sequence[DrawnCurve], colour: Any, thin: bool) -> None:
    """All curves of a budget as one line with gaps, and their held-out losses."""
    gap = [np.nan]
    flops = np.concatenate([np.append(curve.flops, gap) for curve in curves])
    loss = np.concatenate([np.append(curve.loss, gap) for curve in curves])
    axes.plot(flops, loss, color=colour, lw=0.6 if thin else 1.0, alpha=0.5 if thin else 0.8, zorder=2)
    ended = [curve for curve in curves if curve.held_out is not None]
    style: dict[str, Any] = {"color": colour, "ms": 4 if thin else 6, "mec": "white", "mew": 0.5, "zorder": 5}
    ends, losses = [curve.flops[-1] for curve in ended], [curve.held_out for curve in ended]
    points(axes, ends, losses, "o", [curve.name for curve in ended], **style)


def _draw_unfinished(axes: Axes, data: CurvesData) -> list[tuple[str, str]]:
    """Marks at the ends of curves that did not complete; returns the markers used, with what they mean."""
    used = []
    for marker, label, chosen in (
        (">", "still running", [curve for curve in data.curves if curve.status == RUNNING]),
        ("x", "did not complete", [curve for curve in data.curves if curve.status not in (RUNNING, "completed")]),
    ):
        if chosen:
            ends, losses = [curve.flops[-1] for curve in chosen], [curve.loss[-1] for curve in chosen]
            style: dict[str, Any] = {"color": RED, "ms": 6, "zorder": 5, "ls": "none"}
            points(axes, ends, losses, marker, [curve.name for curve in chosen], **style)
            used.append((marker, label))
    return used


def _limits(axes: Axes, data: CurvesData) -> None:
    """Enough to see how losses fall: what comes before learning, and a few wild losses, may leave the picture."""
    flops = np.concatenate([curve.flops for curve in data.curves])
    loss = np.concatenate([curve.loss for curve in data.curves])
    left = min(max(flops.min(), EARLY * data.budgets[0]), flops.max() / 2)  # running ones may not be there yet
    axes.set_xlim(left, flops.max() * 1.4)
    ends = [curve.loss[-1] if curve.held_out is None else curve.held_out for curve in data.curves]
    shown = loss[flops >= left]
    low, last = min([shown.min(), *ends]), float(np.quantile(ends, 0.97))
    high = max(last, min(float(np.quantile(shown, 0.98)), low + 2 * (last - low)))
    if low > 0 and high > WIDE * low:
        axes.set_yscale("log")
        axes.set_ylim(low / 1.3, high * 1.3)
    else:
        margin = 0.05 * (high - low) or 0.05 * abs(low) or 1.0
        axes.set_ylim(low - margin, high + margin)


def _legend(
    figure: ShownFigure, axes: Axes, data: CurvesData, colour_of: Any, unfinished: Sequence[tuple[str, str]]
) -> None:
    some = np.unique(np.linspace(0, len(data.budgets) - 1, min(MOST_NAMED, len(data.budgets))).astype(int))
    for budget in [data.budgets[i] for i in some]:
        axes.plot([], [], "-o", color=colour_of(budget), ms=5, mec="white", mew=0.5, label=power(budget))
    axes.plot([], [], color=INK, lw=1.4, label="lowest so far")
    axes.plot([], [], "o", color="white", mec=INK, ms=5, label="held-out loss at the end")
    for marker, label in unfinished:
        axes.plot([], [], marker, color=RED, ms=6, label=label)
    handles, labels = axes.get_legend_handles_labels()
    where: dict[str, Any] = {"loc": "center left", "bbox_to_anchor": (1 - 2.4 / 9.6, 0.5)}
    figure.legend(handles, labels, title="Compute budget (FLOPs)", alignment="left", frameon=False, **where)
