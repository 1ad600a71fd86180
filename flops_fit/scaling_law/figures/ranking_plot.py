"""Several laws, drawn: their loss curves with bands, and the loss of each at the targets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from flops_fit.basics.formatting import format_count, format_flops, format_loss
from flops_fit.drawing.axes import panels, points, powers_of_ten, tidy
from flops_fit.drawing.colours import BLUE, GREEN, GREY, INK, ORANGE, RED
from flops_fit.scaling_law.figures.plot_data import loss_label

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from flops_fit.drawing.shown_figure import ShownFigure
    from flops_fit.scaling_law.comparison.axis import Axis
    from flops_fit.scaling_law.comparison.ranked_at import RankedAt
    from flops_fit.scaling_law.fitted import FittedLaw

COLOURS = (BLUE, RED, GREEN, "#CC79A7", ORANGE, "#56B4E9", GREY)  # of Okabe and Ito
MARKERS = ("o", "^", "s", "D", "v", "P", "X")
LINES = ("-", "--", "-.", ":")
POINTS = 40
BESIDE: dict[str, Any] = {  # a point, above whatever line passes there
    "xytext": (7, 7),
    "textcoords": "offset points",
    "fontsize": 9,
    "bbox": {"facecolor": "#ffffff", "edgecolor": "none", "alpha": 0.8, "pad": 0.6},
}
LEGEND: dict[str, Any] = {"framealpha": 0.9, "edgecolor": "none", "fontsize": 9}


def ranking_figure(laws: Mapping[str, FittedLaw], targets: Sequence[RankedAt], axis: Axis | None = None) -> ShownFigure:
    """Loss at the optimum against compute of each law with its runs, and the losses at the targets by value."""
    figure, (curves, values) = panels(11.0, 4.6, 2)
    _draw_curves(curves, laws, targets, axis)
    _draw_values(values, [*laws], targets, axis)
    for axes in (curves, values):
        tidy(axes)
    return figure


def _draw_curves(axes: Axes, laws: Mapping[str, FittedLaw], targets: Sequence[RankedAt], axis: Axis | None) -> None:
    low = min(float(law.runs.flops.min()) for law in laws.values())
    high = max(float(law.runs.flops.max()) for law in laws.values())
    furthest = max([10 * high, *(at.compute for at in targets)])
    C = np.geomspace(low, furthest, POINTS)
    ends, tops = [], []
    for place, (name, law) in enumerate(laws.items()):
        colour = COLOURS[place % len(COLOURS)]
        band = np.array([law.interval("L_opt", compute) for compute in C])
        label = name if axis is None else f"{axis.name} {name}"
        style: dict[str, Any] = {"color": colour, "ms": 4, "mew": 0, "alpha": 0.35}
        points(axes, law.runs.flops, law.runs.loss, MARKERS[place % len(MARKERS)], _run_names(label, law), **style)
        axes.fill_between(C, *band.T, color=colour, alpha=0.15, lw=0)
        axes.plot(C, law.L_opt(C), LINES[place % len(LINES)], color=colour, lw=2, label=label)
        ends.append(float(np.quantile(band[:, 0], 0.02)))
        tops.append(float(np.quantile(law.runs.loss, 0.97)))
    axes.axvspan(low, high, color=GREY, alpha=0.10, lw=0)
    for at in targets:
        axes.axvline(at.compute, color=GREY, lw=1.0, ls="-.")
    axes.set_xscale("log")
    powers_of_ten(axes)
    span = max(tops) - min(ends)
    axes.set_ylim(min(ends) - 0.05 * span, max(tops) + 0.05 * span)
    axes.set(xlabel="Compute C (FLOPs); shaded: range of the runs; lines: targets")
    axes.set(ylabel=loss_label(next(iter(laws.values())), "Loss at the optimum"))
    axes.set_title("What loss, with 90 % intervals and the runs", loc="left")
    axes.legend(**LEGEND, loc="upper right")


def _draw_values(axes: Axes, names: Sequence[str], targets: Sequence[RankedAt], axis: Axis | None) -> None:
    ordered = axis is not None and axis.is_ordered
    order = axis.order if axis is not None else list(range(len(names)))
    logarithmic = axis is not None and axis.steps()
    x = np.array([float(axis.values[place]) for place in order] if axis is not None and ordered else range(len(order)))
    for number, at in enumerate(targets):
        losses = np.array([at.losses[place] for place in order])
        low, high = np.array([at.loss_intervals[place] for place in order]).T
        errors = np.abs(np.array([losses - low, high - losses]))
        colour = COLOURS[number % len(COLOURS)] if len(targets) > 1 else INK
        line = LINES[number % len(LINES)] if ordered else ""
        label = f"at {format_flops(at.compute)} FLOPs, 90 % interval"
        aside = 0.012 * (number - (len(targets) - 1) / 2)  # else the intervals of targets hide each other
        there = x * (x.max() / x.min()) ** aside if logarithmic else x + aside * (x.max() - x.min())
        axes.errorbar(there, losses, errors, color=colour, ls=line, marker="o", ms=5, capsize=4, lw=1.4, label=label)
        for place, where in zip(order, there, strict=True):
            chance = at.probabilities[place]
            said = "<1%" if chance < 0.005 else f"{chance:.0%}"
            axes.annotate(said, (where, at.losses[place]), color=colour, **BESIDE)
    if logarithmic:
        axes.set_xscale("log")
        axes.minorticks_off()
    axes.set_xticks(x, [names[place] for place in order])
    axes.margins(x=0.12)
    axes.set(xlabel=axis.name if axis is not None else "", ylabel="Loss at the optimum")
    axes.set_title("At the targets; with the probability of being the best", loc="left")
    axes.legend(**LEGEND, loc="best")


def _run_names(label: str, law: FittedLaw) -> list[str]:
    runs = zip(law.runs.num_params, law.runs.num_tokens, law.runs.loss, strict=True)
    return [f"{label}: N {format_count(N)}, D {format_count(D)}, loss {format_loss(loss)}" for N, D, loss in runs]
