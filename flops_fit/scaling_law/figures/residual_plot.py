"""What the law leaves unexplained, drawn against compute, size, tokens and the distance from the optimum."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import PercentFormatter

from flops_fit.drawing.axes import budget_colours, counts, panels, points, powers_of_ten, ticks, tidy
from flops_fit.drawing.colours import BLUE, INK, RED
from flops_fit.drawing.shown_figure import ShownFigure
from flops_fit.scaling_law.figures.plot_data import ResidualData, drawn_words, residual_data
from flops_fit.scaling_law.fitted import FittedLaw


def residual_figure(law: FittedLaw) -> ShownFigure:
    """Residuals against C, N / N_opt(C), N and D, with one median for each budget (not of the distance, where budgets
    lie side by side)."""
    data = residual_data(law)
    figure, axes = panels(11.0, 7.4, 2, rows=2, gap=0.3, sharey=True)
    places = (
        (data.flops, data.median_flops, "Compute C (FLOPs)"),
        (data.distance, None, f"N / N_opt(C){drawn_words(law)}"),
        (data.num_params, data.median_params, "Parameters N"),
        (data.num_tokens, data.median_tokens, "Tokens D"),
    )
    for place, (x, medians, label) in zip(axes, places, strict=True):
        _draw(place, data, x, medians)
        place.set(xlabel=label, xlim=(x.min() / 1.5, x.max() * 1.5))
        tidy(place)
    for place, what in zip(axes, ("compute", "distance from the optimum", "size", "tokens"), strict=True):
        place.set_title(f"Residuals by {what}", loc="left")
    axes[1].axvline(1, color=INK, lw=0.8, ls=":")
    _limit(axes, data)
    axes[0].legend(frameon=False, loc="best")
    powers_of_ten(axes[0])
    ticks(axes[1], "x", lambda value: f"{value:g}", factor=300)
    counts(axes[2], "x")
    counts(axes[3], "x")
    return figure


def _draw(axes: Axes, data: ResidualData, x: np.ndarray, medians: np.ndarray | None) -> None:
    axes.axhspan(-2 * data.sigma, 2 * data.sigma, color=BLUE, alpha=0.10, lw=0, label="±2 residual sd")
    axes.axhline(0, color=INK, lw=0.8)
    axes.set_xscale("log")
    if data.by_budget:
        colour_of = budget_colours(data.median_flops)
        nearest = np.abs(np.log(data.flops[:, None] / data.median_flops)).argmin(axis=1)
        for i, compute in enumerate(data.median_flops):
            own = np.flatnonzero(nearest == i)
            names = [data.names[at] for at in own]
            style: dict[str, Any] = {"color": colour_of(compute), "ms": 4.5, "mec": "white", "mew": 0.5}
            points(axes, x[own], data.residual[own], "o", names, alpha=0.85, **style)
    else:
        points(axes, x, data.residual, "o", data.names, color=BLUE, ms=4.5, mec="white", mew=0.5, alpha=0.85)
    if medians is None:
        return
    order = np.argsort(medians)
    label = f"median of each {'budget' if data.by_budget else 'group by compute'}"
    line: dict[str, Any] = {"color": RED, "ms": 5, "mec": "white", "mew": 0.5, "lw": 1.2, "zorder": 4}
    axes.plot(medians[order], data.median_residual[order], "-s", **line, label=label)


def _limit(axes: Sequence[Axes], data: ResidualData) -> None:
    """One scale for all, which a few wild runs may leave."""
    limit = 1.1 * float(np.clip(np.abs(data.residual).max(), 3 * data.sigma, max(12 * data.sigma, 1e-6)))
    for place in axes[::2]:
        place.set(ylabel="Loss above the law (relative)", ylim=(-limit, limit))
        place.yaxis.set_major_formatter(PercentFormatter(1.0))
    beyond = int((np.abs(data.residual) > limit).sum())
    if beyond:
        axes[0].set_title(f"Residuals by compute ({beyond} runs off the scale)", loc="left")
