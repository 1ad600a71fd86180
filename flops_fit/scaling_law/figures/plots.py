"""The figures of a law, drawn. Each takes a law and returns a `Figure`; `all_figures` has them in reading order."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter

from flops_fit.basics.formatting import format_loss
from flops_fit.drawing.axes import (
    FEW,
    MANY,
    MARKERS,
    MINIMUM,
    budget_colours,
    counts,
    name_points,
    panels,
    points,
    power,
    powers_of_ten,
    tidy,
)
from flops_fit.drawing.colours import BLUE, GREEN, GREY, INK, ORANGE, RED
from flops_fit.drawing.render import figure_png as figure_png
from flops_fit.drawing.shown_figure import ShownFigure
from flops_fit.scaling_law.figures.plot_data import (
    FrontierData,
    IsoflopData,
    cloud_data,
    contour_data,
    drawn_words,
    frontier_data,
    isoflop_data,
    loss_label,
)
from flops_fit.scaling_law.figures.ratio_data import CHINCHILLA_TOKENS_PER_PARAM
from flops_fit.scaling_law.figures.ratio_plot import ratio_figure
from flops_fit.scaling_law.figures.residual_plot import residual_figure
from flops_fit.scaling_law.fitted import FittedLaw

MOST_NAMED = 14  # budgets in the legend; all are drawn
BANDS = ("90 % interval", "of it, sampling error")


def isoflop_figure(law: FittedLaw) -> ShownFigure:
    """Loss against N: each budget's runs, the fitted law along the budget, and the minima."""
    data = isoflop_data(law)
    figure, (axes,) = panels(9.6, 5.2, 1, right=2.5)
    computes = [curve.compute_budget for curve in data.curves]
    colour_of = budget_colours(computes)
    colours = [colour_of(compute) for compute in computes]
    _draw_other_runs(axes, data, colour_of)
    named = set(np.linspace(0, len(computes) - 1, min(len(computes), MOST_NAMED)).round().astype(int).tolist())
    thin = 1.0 if len(computes) <= MOST_NAMED else 0.6
    for at, (curve, colour, marker) in enumerate(zip(data.curves, colours, itertools.cycle(MARKERS), strict=False)):
        axes.plot(curve.law_N, curve.law_loss, color=colour, lw=1.6 * thin, zorder=2)
        if len(data.curves) <= FEW:
            axes.plot(curve.own_N, curve.own_loss, ":", color=colour, lw=1.4, zorder=2)
        runs: dict[str, Any] = {"color": colour, "ms": 6 * thin**0.5, "mec": "white", "mew": 0.6 * thin, "zorder": 3}
        label = power(curve.compute_budget) if at in named else None
        points(axes, curve.N, curve.loss, marker, curve.names, **runs, label=label)
    onto = "" if law.form == "chinchilla" else ", moved onto\nthe largest budget"
    if law.determined:
        axes.plot([], [], "-", color=INK, lw=1.6, label=f"the law{onto}")
    if len(data.curves) <= FEW:
        axes.plot([], [], ":", color=INK, lw=1.4, label="budget's own parabola")
    if law.determined:
        axes.plot(data.path_N, data.path_loss, "--", color=INK, lw=1.2, zorder=4, label="optimum of the law")
    inside = [curve.own_minimum for curve in data.curves if curve.own_minimum]
    if inside:
        N, loss = zip(*inside, strict=True)
        axes.plot(N, loss, "*", **MINIMUM, label="budget's own minimum")
    axes.set_xscale("log")
    sizes = np.concatenate([*[curve.law_N for curve in data.curves], *[curve.N for curve in data.curves], data.other_N])
    axes.set_xlim(sizes.min() / 1.3, sizes.max() * 1.3)
    _loss_limits(axes, data)
    counts(axes, "x")
    axes.set(xlabel="Parameters N", ylabel=loss_label(law, "Final held-out loss"))
    axes.set_title("IsoFLOP curves: loss against model size at fixed compute", loc="left")
    tidy(axes)
    handles, labels = axes.get_legend_handles_labels()
    said = drawn_words(law).replace(" (", "\n(")
    said += "" if len(named) == len(computes) else f"\n{len(named)} of {len(computes)} budgets named"
    where: dict[str, Any] = {"loc": "center left", "bbox_to_anchor": (1 - 2.4 / 9.6, 0.5)}
    figure.legend(handles, labels, title=f"Compute (FLOPs){said}", alignment="left", frameon=False, **where)
    return figure


def frontier_figure(law: FittedLaw) -> ShownFigure:
    """N_opt and D_opt against compute with 90 % bands and the 20-tokens-per-parameter line, and the loss frontier."""
    data = frontier_data(law)
    figure, (params, tokens, loss) = panels(12.6, 4.4, 3)
    a = law.a_at(data.C_fitted[1])
    sizes, seen = f"N_opt ∝ C^{a:.3f}", f"D_opt ∝ C^{1 - a:.3f}"
    _power_law_panel(params, data, data.N, (data.N_band, data.N_sampling), data.minimum_N, BLUE, sizes)
    _power_law_panel(tokens, data, data.D, (data.D_band, data.D_sampling), data.minimum_D, GREEN, seen)
    reference = np.sqrt(data.C / (data.flops_per_param_per_token * CHINCHILLA_TOKENS_PER_PARAM))
    for axes, line in ((params, reference), (tokens, reference * CHINCHILLA_TOKENS_PER_PARAM)):
        axes.plot(data.C, line, ":", color=INK, lw=1.4, label="20 tokens per parameter")
        axes.legend(loc="upper left", frameon=False)
    if len(data.minimum_C):
        errors = np.abs(data.minimum_N_interval.T - data.minimum_N)
        params.errorbar(data.minimum_C, data.minimum_N, errors, fmt="none", ecolor=RED, elinewidth=1.0, zorder=4)
    _loss_panel(loss, data, law)
    params.set(ylabel="Optimal parameters N")
    tokens.set(ylabel="Optimal tokens D")
    for axes, title in ((params, "How large a model"), (tokens, "How many tokens"), (loss, "What loss")):
        axes.set_title(title, loc="left")
        tidy(axes)
    return figure


def contour_figure(law: FittedLaw) -> ShownFigure:
    """Contours of L(N, D) with the runs and the path of the optimum."""
    data = contour_data(law)
    levels = np.quantile(data.loss, np.linspace(0.01, 0.97, 16))
    said = level_words(levels)
    figure, (axes,) = panels(7.0, 5.2, 1, right=0.15 + 0.07 * max(len(words) - 4 for words in said.values()))
    filled = axes.contourf(data.N, data.D, data.loss, levels=levels, cmap="viridis_r", extend="both", alpha=0.85)
    lines = axes.contour(data.N, data.D, data.loss, levels=levels[::3], colors="white", linewidths=0.8)
    axes.clabel(lines, fmt=lambda level: said[float(level)], fontsize=8)
    style: dict[str, Any] = {"color": "white", "ms": 4.5, "mec": INK, "mew": 0.8}
    points(axes, data.run_N, data.run_D, "o", data.run_names, **style, label=f"runs{drawn_words(law)}")
    axes.plot(data.path_N, data.path_D, "--", color=INK, lw=1.6, label="compute optimum")
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set(xlabel="Parameters N", ylabel="Tokens D", xlim=(data.N[0], data.N[-1]), ylim=(data.D[0], data.D[-1]))
    axes.set_title("Predicted loss over parameters and tokens", loc="left")
    counts(axes, "x")
    counts(axes, "y")
    bar = figure.colorbar(filled, ax=axes, label=loss_label(law))
    bar.ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: said.get(float(value), f"{value:.4g}")))
    axes.legend(loc="upper right", framealpha=0.9)
    return figure


def cloud_figure(law: FittedLaw) -> ShownFigure:
    """The bootstrap cloud of alpha and beta, and the distribution of a."""
    data = cloud_data(law)
    figure, (left, right) = panels(9.6, 4.0, 2)
    left.plot(data.alpha, data.beta, ".", color=BLUE, ms=4, alpha=0.35, mew=0, rasterized=len(data.alpha) > MANY)
    left.plot([], [], "o", color=BLUE, ms=4, mew=0, label=f"{len(data.a)} bootstrap refits")
    left.plot(data.estimate[0], data.estimate[1], "*", color=RED, ms=15, mec="white", label="estimate")
    for axis, values in (("x", data.alpha), ("y", data.beta)):
        low, high = np.quantile(values, [0.005, 0.995])
        margin = max(0.15 * (high - low), 1e-3 * max(abs(high), 1e-3))
        getattr(left, f"set_{axis}lim")(low - margin, high + margin)
    left.set(xlabel="alpha (exponent of N)", ylabel="beta (exponent of D)")
    left.legend(frameon=False, loc="best")
    low, high = np.quantile(data.a, [0.002, 0.998])
    margin = max(0.05 * (high - low), 1e-4)
    right.hist(data.a, bins=40, range=(low - margin, high + margin), color=BLUE, alpha=0.8)
    right.axvspan(*data.a_interval, color=BLUE, alpha=0.12, lw=0, label="90 % interval")
    right.axvline(data.estimate[2], color=RED, lw=2, label=f"estimate {data.estimate[2]:.3f}")
    right.axvline(0.5, color=INK, lw=1.2, ls=":", label="0.5: N and D grow alike")
    right.set_xlim(low - 2 * margin, high + 2 * margin)
    right.set_ylim(0, right.get_ylim()[1] * 1.35)
    right.set(xlabel="a (exponent of N_opt in C)", ylabel="Bootstrap refits")
    right.legend(frameon=False, loc="best")
    left.set_title("How sure the exponents are", loc="left")
    right.set_title("Exponent a of the optimum", loc="left")
    tidy(left)
    tidy(right)
    return figure


def all_figures(law: FittedLaw, *, without: Collection[str] = ()) -> dict[str, ShownFigure]:
    """Every figure by name, in reading order, those named in `without` left out."""
    drawn = {
        "isoflop": isoflop_figure,
        "frontier": frontier_figure,
        "tokens_per_param": ratio_figure,
        "residuals": residual_figure,
        "exponents": cloud_figure,
        "contours": contour_figure,
    }
    return {name: draw(law) for name, draw in drawn.items() if name not in without}


def level_words(levels: np.ndarray) -> dict[float, str]:
    """Each level with as many digits, three or more, as tell it from the others."""
    for digits in range(3, 9):
        said = {float(level): f"{level:.{digits}g}" for level in levels}
        if len(set(said.values())) == len(said):
            break
    return said


def _draw_other_runs(axes: Axes, data: IsoflopData, colour_of: Callable[[Any], Any]) -> None:
    if len(data.other_N):
        style: dict[str, Any] = {"s": 14, "alpha": 0.55, "lw": 0, "zorder": 1, "rasterized": len(data.other_N) > MANY}
        axes.scatter(data.other_N, data.other_loss, c=colour_of(data.other_flops), **style, label="other runs")
        name_points(axes, data.other_N, data.other_loss, data.other_names)


def _loss_limits(axes: Axes, data: IsoflopData) -> None:
    """Enough to see the runs: the law's curve may leave the picture, a few wild losses too."""
    losses = np.concatenate([*[curve.loss for curve in data.curves], data.other_loss])
    minima = [minimum for curve in data.curves for minimum in (curve.law_minimum, curve.own_minimum) if minimum]
    lowest = min([*losses, *(loss for _, loss in minima)])
    highest = float(np.quantile(losses, 0.985)) if len(losses) > 60 else float(losses.max())
    margin = 0.06 * (highest - lowest) or 0.02 * abs(lowest)  # of losses that do not differ
    axes.set_ylim(lowest - margin, highest + margin)


def _power_law_panel(
    axes: Axes,
    data: FrontierData,
    value: np.ndarray,
    bands: tuple[np.ndarray, np.ndarray],
    minima: np.ndarray,
    colour: str,
    label: str,
) -> None:
    band = bands[0]
    for each, name in zip(bands, BANDS, strict=True):
        low, high = np.clip(each, value[:, None] * 1e-6, value[:, None] * 1e6).T  # a runaway bound leaves the picture
        axes.fill_between(data.C, low, high, color=colour, alpha=0.2, lw=0, label=name)
    axes.plot(data.C, value, color=colour, lw=2, label=label)
    axes.plot(data.minimum_C, minima, "*", **MINIMUM, label="minima of the budgets" if len(minima) else None)
    axes.set_yscale("log")
    _compute_axis(axes, data)
    shown = np.concatenate([value, minima, np.clip(band, value[:, None] / 30, value[:, None] * 30).ravel()])
    axes.set_ylim(shown.min() / 2, shown.max() * 2)
    counts(axes, "y")


def _loss_panel(axes: Axes, data: FrontierData, law: FittedLaw) -> None:
    style: dict[str, Any] = {"color": GREY, "ms": 4, "mew": 0, "alpha": 0.6}
    points(axes, data.run_C, data.run_loss, "o", data.run_names, **style, label=f"runs{drawn_words(law)}")
    for each, name in zip((data.L_band, data.L_sampling), BANDS, strict=True):
        axes.fill_between(data.C, *each.T, color=ORANGE, alpha=0.25, lw=0, label=name)
    axes.plot(data.C, data.L, color=ORANGE, lw=2, label="predicted at the optimum")
    axes.plot(data.minimum_C, data.minimum_L, "*", **MINIMUM)
    axes.axhline(law.irreducible, color=INK, lw=1.2, ls=":", label=f"irreducible loss = {format_loss(law.irreducible)}")
    top = float(np.quantile(data.run_loss, 0.97))
    bottom = min(law.irreducible, float(data.L_band.min()), float(data.run_loss.min()))
    axes.set_ylim(bottom - 0.05 * (top - bottom), top + 0.5 * (top - bottom))  # the upper third is for the legend
    axes.set(ylabel=loss_label(law))
    axes.legend(frameon=False, loc="upper right")
    _compute_axis(axes, data)


def _compute_axis(axes: Axes, data: FrontierData) -> None:
    axes.set_xscale("log")
    axes.axvspan(*data.C_fitted, color=GREY, alpha=0.10, lw=0)
    powers_of_ten(axes)
    axes.set(xlabel="Compute C (FLOPs); shaded: range of the runs")
