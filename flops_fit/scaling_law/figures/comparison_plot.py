"""Two laws, drawn: their loss curves with bands and crossings, and how far the one lies from the other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from flops_fit.drawing.axes import panels, powers_of_ten, tidy
from flops_fit.drawing.colours import BLUE, GREY, INK, RED
from flops_fit.scaling_law.figures.comparison_data import ComparisonData, comparison_data
from flops_fit.scaling_law.figures.plot_data import loss_label
from flops_fit.scaling_law.fitted import FittedLaw

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from flops_fit.drawing.shown_figure import ShownFigure

STYLES = ((BLUE, "-", "o"), (RED, "--", "^"))
LONGEST_LABEL = 50  # letters that fit beside the axis
LEGEND: dict[str, Any] = {"framealpha": 0.9, "edgecolor": "none"}  # over the lines of the targets
CROSSING: dict[str, Any] = {"color": INK, "ms": 9, "mec": "white", "mew": 0.8, "zorder": 5}


def comparison_figure(
    laws: Mapping[str, FittedLaw], targets: Sequence[float] = (), crossings: Sequence[float] = ()
) -> ShownFigure:
    """Loss at the optimum against compute of two laws with their runs, and the second's loss over the first's;
    `targets` and `crossings` are in FLOPs."""
    data = comparison_data([*laws.values()], targets, crossings)
    figure, (curves, ratio) = panels(11.0, 4.6, 2)
    _draw_curves(curves, data, laws)
    _draw_ratio(ratio, data, [*laws])
    for axes in (curves, ratio):
        axes.set_xscale("log")
        axes.axvspan(*data.fitted, color=GREY, alpha=0.10, lw=0)
        for compute in targets:
            axes.axvline(compute, color=GREY, lw=1.0, ls="-.")
        powers_of_ten(axes)
        axes.set(xlabel="Compute C (FLOPs); shaded: range of the runs; lines: targets")
        tidy(axes)
    return figure


def _draw_curves(axes: Axes, data: ComparisonData, laws: Mapping[str, FittedLaw]) -> None:
    for (name, law), loss, band, (colour, line, marker) in zip(
        laws.items(), data.losses, data.bands, STYLES, strict=True
    ):
        axes.plot(law.runs.flops, law.runs.loss, marker, color=colour, ms=4, mew=0, alpha=0.35, zorder=1)
        axes.fill_between(data.C, *band.T, color=colour, alpha=0.2, lw=0)
        axes.plot(data.C, loss, line, color=colour, lw=2, label=f"{name}, 90 % interval, and its runs")
    if data.crossings:
        axes.plot(*zip(*data.crossings, strict=True), "D", **CROSSING, label="the curves cross")
    runs = np.concatenate([law.runs.loss for law in laws.values()])
    low, high = min(data.losses.min(), np.quantile(data.bands[..., 0], 0.02)), float(np.quantile(runs, 0.97))
    axes.set_ylim(low - 0.05 * (high - low), high + 0.05 * (high - low))
    axes.set(ylabel=loss_label(next(iter(laws.values())), "Loss at the optimum"))
    axes.set_title("What loss", loc="left")
    axes.legend(**LEGEND, loc="upper right")


def _draw_ratio(axes: Axes, data: ComparisonData, names: Sequence[str]) -> None:
    percent, band = 100 * (data.ratio - 1), 100 * (data.ratio_band - 1)
    axes.axhline(0, color=INK, lw=0.8)
    axes.fill_between(data.C, *band.T, color=BLUE, alpha=0.2, lw=0, label="90 % interval, of both together")
    axes.plot(data.C, percent, color=BLUE, lw=2)
    if data.crossings:
        axes.plot([compute for compute, _ in data.crossings], [0] * len(data.crossings), "D", **CROSSING)
    label = f"Loss of {names[1]} over that of {names[0]} (%)"
    axes.set(ylabel=label if len(label) <= LONGEST_LABEL else "Difference of the losses (%)")
    axes.set_title(f"Below 0: {names[1]} is better", loc="left")
    axes.legend(**LEGEND, loc="best")
