"""The rounds of an adaptive study, drawn: what was trained, and what each round taught."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib import colormaps

from flops_fit.basics.formatting import format_flops
from flops_fit.drawing.axes import FEW, counts, panels, tidy
from flops_fit.drawing.colours import BLUE, GREY, INK

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from flops_fit.adaptive.progress import Progress
    from flops_fit.drawing.shown_figure import ShownFigure


def rounds_figure(progress: Progress) -> ShownFigure:
    """Experiments in the N-D plane by round; N_opt and loss at the target against FLOPs spent."""
    figure, (plane, size, loss) = panels(12.6, 4.4, 3)
    _draw_plane(plane, progress)
    _draw_answers(size, progress, "N_opt")
    _draw_answers(loss, progress, "loss")
    return figure


def _draw_plane(axes: Axes, progress: Progress) -> None:
    colours = colormaps["viridis"](np.linspace(0.05, 0.92, max(2, len(progress.rounds))))
    for item, colour in zip(progress.rounds, colours, strict=False):
        N = [experiment.num_params for experiment in item.experiments]
        D = [experiment.num_tokens for experiment in item.experiments]
        style: dict[str, Any] = {"color": colour, "ms": 7, "mec": "white", "mew": 0.6}
        named = len(progress.rounds) <= FEW or item.number in (1, len(progress.rounds))
        axes.plot(N, D, "o", **style, label=f"round {item.number}" if named else None)
    axes.set_xscale("log")
    axes.set_yscale("log")
    counts(axes, "x")
    counts(axes, "y")
    axes.set(xlabel="Parameters N", ylabel="Tokens D")
    axes.set_title("What was trained", loc="left")
    axes.legend(frameon=False, fontsize=8)
    tidy(axes)


def _draw_answers(axes: Axes, progress: Progress, quantity: str) -> None:
    known = [answer for answer in progress.answers if answer is not None]
    target = format_flops(float(progress.options.target_budget))
    if known:
        spent = np.array([answer.flops for answer in known])
        middle = np.array([getattr(answer, quantity) for answer in known])
        low, high = (np.array([getattr(answer, f"{quantity}_{end}") for answer in known]) for end in ("low", "high"))
        axes.errorbar(spent, middle, yerr=[middle - low, high - middle], fmt="o-", color=BLUE, capsize=4, ms=6, lw=1.4)
        width = progress.options.wanted.get(quantity)
        if width is not None:
            for end in (-width, width):
                axes.axhline(middle[-1] * np.exp(end), color=GREY, ls=":", lw=1.2)
        axes.set_xscale("log")
    else:
        axes.text(0.5, 0.5, "no law yet", ha="center", va="center", color=INK, transform=axes.transAxes)
    if quantity == "N_opt":
        axes.set_yscale("log")
        counts(axes, "y")
    axes.set(xlabel="FLOPs spent", ylabel="Parameters N" if quantity == "N_opt" else "Loss")
    axes.set_title(f"{'N_opt' if quantity == 'N_opt' else 'Loss'} at {target} FLOPs", loc="left")
    tidy(axes)
