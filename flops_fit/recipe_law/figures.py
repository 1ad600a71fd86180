"""The trials of a recipe, drawn: loss against each tuned number, by size and tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from matplotlib import colormaps

from flops_fit.basics.formatting import format_count
from flops_fit.scaling_law.figures.plots import panels, tidy

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from flops_fit.recipe_law.tuned_recipe import TunedRecipe


def recipe_figure(found: TunedRecipe) -> Figure:
    """A panel for each tuned number: the trials of each size, and what the rule uses there."""
    names = found.law.names
    figure, axes = panels(6.0 * len(names), 4.4, len(names))
    for place, name in zip(axes, names, strict=True):
        _draw(place, found, name)
    return figure


def _draw(axes: Axes, found: TunedRecipe, name: str) -> None:
    cells = sorted({trial.cell for trial in found.trials})
    colours = colormaps["viridis"](np.linspace(0.05, 0.92, max(2, len(cells))))
    for cell, colour in zip(cells, colours, strict=False):
        trials = sorted((item.values[name], item.loss) for item in found.trials if item.cell == cell and item.loss)
        label = f"N = {format_count(cell[0])}, D = {format_count(cell[1])}"
        axes.plot(*zip(*trials, strict=True) if trials else ([], []), "o", color=colour, ms=6, label=label)
        axes.axvline(found.law.value(name, *cell), color=colour, ls=":", lw=1.4)
        for item in found.trials:
            if item.cell == cell and item.loss is None:
                axes.plot(item.values[name], 1.0, "x", color=colour, ms=7, transform=axes.get_xaxis_transform())
    axes.set_xscale("log")
    axes.set(xlabel=name, ylabel="Loss")
    axes.set_title("Trials; dotted: what the rule uses; crosses: diverged", loc="left", fontsize=9)
    axes.legend(frameon=False, fontsize=8)
    tidy(axes)
