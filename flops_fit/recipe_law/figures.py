"""The trials of a recipe, drawn: loss against each tuned number, and the law, by size and tokens."""

from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING

import numpy as np
from matplotlib import colormaps

from flops_fit.basics.formatting import format_count
from flops_fit.drawing.axes import panels, tidy
from flops_fit.recipe.tuning import Cell

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from flops_fit.drawing.shown_figure import ShownFigure
    from flops_fit.recipe_law.tuned_recipe import TunedRecipe


def recipe_figure(found: TunedRecipe) -> ShownFigure:
    """A panel for each tuned number: the trials of each size, the law with the other numbers at what the rule uses, and
    what it uses of this one."""
    names = found.law.names
    figure, axes = panels(max(9.6, 4.8 * len(names) + 1.8), 4.4, len(names), right=2.0)
    for place, name in zip(axes, names, strict=True):
        _draw(place, found, name)
    axes[0].set_title("Trials and the law; dotted: what the rule uses; crosses: diverged", loc="left", fontsize=9)
    axes[-1].legend(frameon=False, fontsize=8, loc="upper left", bbox_to_anchor=(1.01, 1.0))
    return figure


def _draw(axes: Axes, found: TunedRecipe, name: str) -> None:
    cells = sorted({trial.cell for trial in found.trials})
    colours = colormaps["viridis"](np.linspace(0.05, 0.92, max(2, len(cells))))
    for cell, colour in zip(cells, colours, strict=False):
        trials = sorted((item.values[name], item.loss) for item in found.trials if item.cell == cell and item.loss)
        label = f"N = {format_count(cell[0])}, D = {format_count(cell[1])}"
        axes.plot(*zip(*trials, strict=True) if trials else ([], []), "o", color=colour, ms=6, label=label)
        if trials:
            values = np.geomspace(trials[0][0], trials[-1][0], 60)
            axes.plot(values, _losses(found, cell, name, values), color=colour, lw=1.4)
        axes.axvline(found.law.value(name, *cell), color=colour, ls=":", lw=1.4)
        for item in found.trials:
            if item.cell == cell and item.loss is None:
                axes.plot(item.values[name], 1.0, "x", color=colour, ms=7, transform=axes.get_xaxis_transform())
    axes.set_xscale("log")
    axes.set(xlabel=name, ylabel="Loss")
    tidy(axes)


def _losses(found: TunedRecipe, cell: Cell, name: str, values: np.ndarray) -> list[float]:
    """The law's loss at `values` of `name`; how low a cell's best is, its trials say at the median."""
    law = found.law
    trials = [item for item in found.trials if item.cell == cell and item.loss]
    best = median(item.loss / (1 + law.excess(item.values, *cell)) for item in trials if item.loss)
    used = {each: law.value(each, *cell) for each in law.names}
    return [best * (1 + law.excess(used | {name: float(value)}, *cell)) for value in values]
