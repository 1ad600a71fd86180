"""Tokens per parameter against compute, drawn: what was trained, and the law's optimum."""

from __future__ import annotations

from typing import Any

import numpy as np

from flops_fit.drawing.axes import MINIMUM, panels, points, powers_of_ten, ticks, tidy
from flops_fit.drawing.colours import BLUE, GREY, INK
from flops_fit.drawing.shown_figure import ShownFigure
from flops_fit.scaling_law.figures.plot_data import drawn_words
from flops_fit.scaling_law.figures.ratio_data import CHINCHILLA_TOKENS_PER_PARAM, ratio_data
from flops_fit.scaling_law.fitted import FittedLaw

FAR = 1e3


def ratio_figure(law: FittedLaw) -> ShownFigure:
    """D/N against compute: the runs, the budgets' own minima, and the law's optimum with its 90 % band."""
    data = ratio_data(law)
    figure, (axes,) = panels(9.6, 4.6, 1, right=2.6)
    style: dict[str, Any] = {"color": GREY, "ms": 4.5, "mec": "white", "mew": 0.5, "alpha": 0.85}
    points(axes, data.run_C, data.run_ratio, "o", data.run_names, **style, label=f"runs{drawn_words(law)}")
    low, high = np.clip(data.band, data.ratio[:, None] * 1e-6, data.ratio[:, None] * 1e6).T
    axes.fill_between(data.C, low, high, color=BLUE, alpha=0.2, lw=0, label="90 % interval")
    axes.plot(data.C, data.ratio, color=BLUE, lw=2, label="the law's optimum")
    axes.plot(data.minimum_C, data.minimum_ratio, "*", **MINIMUM, label="budgets' own minima")
    axes.axhline(CHINCHILLA_TOKENS_PER_PARAM, color=INK, lw=1.4, ls=":", label="20 tokens per parameter")
    axes.set_xscale("log")
    axes.set_yscale("log")
    bounded = np.clip(data.band, data.ratio[:, None] / 30, data.ratio[:, None] * 30).ravel()
    shown = np.concatenate([data.run_ratio, data.ratio, data.minimum_ratio, bounded])
    low, high = data.run_ratio.min() / FAR, data.run_ratio.max() * FAR  # an optimum of no law leaves the picture
    axes.set_ylim(max(shown.min(), low) / 1.5, min(shown.max(), high) * 1.5)
    axes.axvspan(*data.C_fitted, color=GREY, alpha=0.10, lw=0)
    powers_of_ten(axes)
    ticks(axes, "y", lambda value: f"{value:g}", factor=300)
    axes.set(xlabel="Compute C (FLOPs); shaded: range of the runs", ylabel="Tokens per parameter D/N")
    axes.set_title("Tokens per parameter: what was trained, and the optimum", loc="left")
    tidy(axes)
    axes.legend(frameon=False, loc="center left", bbox_to_anchor=(1.02, 0.5))
    return figure
