"""The figures of a law, drawn, and what other figures are drawn with. Each takes a law and returns a `Figure`.

Colours are Okabe & Ito's and the `viridis` scale, both safe for the colour-blind; markers and line styles carry the
same distinctions in black and white.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Collection, Sequence
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.image import imsave
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator, PercentFormatter

from flops_fit.basics.formatting import format_count
from flops_fit.scaling_law.figures.plot_data import (
    FrontierData,
    IsoflopData,
    cloud_data,
    contour_data,
    drawn_words,
    frontier_data,
    isoflop_data,
    loss_label,
    residual_data,
)
from flops_fit.scaling_law.fitted import FittedLaw

BLUE, ORANGE, GREEN, RED, INK, GREY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#222222", "#8a8a8a"
CHINCHILLA_TOKENS_PER_PARAM = 20.0
FEW = 6  # budgets up to which their own curves are drawn too
BANDS = ("90 % interval", "of it, sampling error")
SUPERSCRIPT = str.maketrans("0123456789-", "⁰¹²³⁴⁵⁶⁷⁸⁹⁻")
MARKERS = "os^Dvp<>hX"
MINIMUM: dict[str, Any] = {"color": RED, "ms": 12, "mec": "white", "mew": 0.8, "zorder": 5}


def isoflop_figure(law: FittedLaw) -> Figure:
    """Loss against N: each budget's runs, the fitted law along the budget, and the minima."""
    data = isoflop_data(law)
    figure, (axes,) = panels(9.6, 5.2, 1, right=2.5)
    computes = [curve.compute_budget for curve in data.curves]
    norm = LogNorm(min(computes) / 1.3, max(computes) * 2.2)
    colours = [colormaps["viridis"](norm(compute)) for compute in computes]
    _draw_other_runs(axes, data, norm)
    for curve, colour, marker in zip(data.curves, colours, MARKERS, strict=False):
        axes.plot(curve.law_N, curve.law_loss, color=colour, lw=1.6, zorder=2)
        if len(data.curves) <= FEW:
            axes.plot(curve.own_N, curve.own_loss, ":", color=colour, lw=1.4, zorder=2)
        runs: dict[str, Any] = {"color": colour, "ms": 6, "mec": "white", "mew": 0.6, "zorder": 3}
        axes.plot(curve.N, curve.loss, marker, **runs, label=_power(curve.compute_budget))
    onto = "" if law.form == "chinchilla" else ", moved onto\nthe largest budget"
    axes.plot([], [], "-", color=INK, lw=1.6, label=f"the law{onto}")
    if len(data.curves) <= FEW:
        axes.plot([], [], ":", color=INK, lw=1.4, label="budget's own parabola")
    axes.plot(data.path_N, data.path_loss, "--", color=INK, lw=1.2, zorder=4, label="optimum of the law")
    inside = [curve.own_minimum for curve in data.curves if curve.own_minimum]
    if inside:
        N, loss = zip(*inside, strict=True)
        axes.plot(N, loss, "*", **MINIMUM, label="budget's own minimum")
    axes.set_xscale("log")
    _loss_limits(axes, data)
    counts(axes, "x")
    axes.set(xlabel="Parameters N", ylabel=loss_label(law, "Final held-out loss"))
    axes.set_title("IsoFLOP curves: loss against model size at fixed compute", loc="left")
    tidy(axes)
    handles, labels = axes.get_legend_handles_labels()
    said = drawn_words(law).replace(" (", "\n(")
    where: dict[str, Any] = {"loc": "center left", "bbox_to_anchor": (1 - 2.4 / 9.6, 0.5)}
    figure.legend(handles, labels, title=f"Compute (FLOPs){said}", alignment="left", frameon=False, **where)
    return figure


def frontier_figure(law: FittedLaw) -> Figure:
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


def residual_figure(law: FittedLaw) -> Figure:
    """Residuals against compute and against the distance from the optimum."""
    data = residual_data(law)
    figure, (left, right) = panels(10.0, 4.0, 2, gap=0.25, sharey=True)
    for axes, x, label in (
        (left, data.flops, "Compute C (FLOPs)"),
        (right, data.distance, f"N / N_opt(C){drawn_words(law)}"),
    ):
        axes.axhspan(-2 * data.sigma, 2 * data.sigma, color=BLUE, alpha=0.10, lw=0, label="±2 residual sd")
        axes.axhline(0, color=INK, lw=0.8)
        axes.plot(x, data.residual, "o", color=BLUE, ms=4.5, mec="white", mew=0.5, alpha=0.85)
        axes.set_xscale("log")
        axes.set(xlabel=label, xlim=(x.min() / 1.5, x.max() * 1.5))
        tidy(axes)
    left.plot(data.trend_C, data.trend, "-s", color=RED, ms=4, lw=1.2, label="median by compute")
    right.axvline(1, color=INK, lw=0.8, ls=":")
    left.set(ylabel="Loss above the law (relative)")
    left.yaxis.set_major_formatter(PercentFormatter(1.0))
    limit = 1.1 * float(np.clip(np.abs(data.residual).max(), 3 * data.sigma, max(12 * data.sigma, 1e-6)))
    left.set_ylim(-limit, limit)
    beyond = int((np.abs(data.residual) > limit).sum())
    left.set_title("Residuals by compute" + (f" ({beyond} runs off the scale)" if beyond else ""), loc="left")
    right.set_title("Residuals by distance from the optimum", loc="left")
    left.legend(frameon=False, loc="best")
    _ticks(right, "x", lambda value: f"{value:g}", factor=300)
    powers_of_ten(left)
    return figure


def contour_figure(law: FittedLaw) -> Figure:
    """Contours of L(N, D) with the runs and the path of the optimum."""
    data = contour_data(law)
    figure, (axes,) = panels(7.0, 5.2, 1)
    levels = np.quantile(data.loss, np.linspace(0.01, 0.97, 16))
    filled = axes.contourf(data.N, data.D, data.loss, levels=levels, cmap="viridis_r", extend="both", alpha=0.85)
    lines = axes.contour(data.N, data.D, data.loss, levels=levels[::3], colors="white", linewidths=0.8)
    axes.clabel(lines, fmt="%.2f", fontsize=8)
    axes.plot(data.run_N, data.run_D, "o", color="white", ms=4.5, mec=INK, mew=0.8, label=f"runs{drawn_words(law)}")
    axes.plot(data.path_N, data.path_D, "--", color=INK, lw=1.6, label="compute optimum")
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set(xlabel="Parameters N", ylabel="Tokens D", xlim=(data.N[0], data.N[-1]), ylim=(data.D[0], data.D[-1]))
    axes.set_title("Predicted loss over parameters and tokens", loc="left")
    counts(axes, "x")
    counts(axes, "y")
    bar = figure.colorbar(filled, ax=axes, label=loss_label(law))
    bar.ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.2f}"))
    axes.legend(loc="upper right", framealpha=0.9)
    return figure


def cloud_figure(law: FittedLaw) -> Figure:
    """The bootstrap cloud of alpha and beta, and the distribution of a."""
    data = cloud_data(law)
    figure, (left, right) = panels(9.6, 4.0, 2)
    left.plot(data.alpha, data.beta, ".", color=BLUE, ms=4, alpha=0.35, mew=0)
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


def all_figures(law: FittedLaw, *, without: Collection[str] = ()) -> dict[str, Figure]:
    """Every figure by name, in reading order, those named in `without` left out."""
    drawn = {
        "isoflop": isoflop_figure,
        "frontier": frontier_figure,
        "residuals": residual_figure,
        "contours": contour_figure,
        "exponents": cloud_figure,
    }
    return {name: draw(law) for name, draw in drawn.items() if name not in without}


def figure_png(figure: Figure, dpi: int = 130) -> bytes:
    """The figure as PNG; drawn once, where `savefig` would lay it out and draw it twice."""
    figure.set_dpi(dpi)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    buffer = io.BytesIO()
    unsigned: Any = {"Software": None}
    quick = {"compress_level": 3}  # half the time of the usual 6, for a tenth more bytes
    imsave(buffer, np.asarray(canvas.buffer_rgba()), format="png", dpi=dpi, metadata=unsigned, pil_kwargs=quick)
    return buffer.getvalue()


def panels(
    width: float, height: float, count: int, *, gap: float = 0.9, right: float = 0.15, sharey: bool = False
) -> tuple[Figure, Sequence[Axes]]:
    """A figure with panels side by side, all lengths in inches: laid out beforehand, since Matplotlib's own layout
    engines draw everything twice more to find out."""
    figure = Figure(figsize=(width, height))
    left, above, below = 0.9, 0.4, 0.6
    panel = (width - left - right - gap * (count - 1)) / count
    margins = {"left": left / width, "right": 1 - right / width, "bottom": below / height, "top": 1 - above / height}
    figure.subplots_adjust(**margins, wspace=gap / panel)
    return figure, figure.subplots(1, count, sharey=sharey, squeeze=False)[0]


def _draw_other_runs(axes: Axes, data: IsoflopData, norm: Any) -> None:
    if len(data.other_N):
        colours = colormaps["viridis"](norm(data.other_flops))
        axes.scatter(data.other_N, data.other_loss, s=14, c=colours, alpha=0.55, lw=0, zorder=1, label="other runs")


def _loss_limits(axes: Axes, data: IsoflopData) -> None:
    """Enough to see the runs: the law's curve may leave the picture, a few wild losses too."""
    losses = np.concatenate([*[curve.loss for curve in data.curves], data.other_loss])
    minima = [minimum for curve in data.curves for minimum in (curve.law_minimum, curve.own_minimum) if minimum]
    lowest = min([*losses, *(loss for _, loss in minima)])
    highest = float(np.quantile(losses, 0.985)) if len(losses) > 60 else float(losses.max())
    margin = 0.06 * (highest - lowest)
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
    axes.plot(data.run_C, data.run_loss, "o", color=GREY, ms=4, mew=0, alpha=0.6, label=f"runs{drawn_words(law)}")
    for each, name in zip((data.L_band, data.L_sampling), BANDS, strict=True):
        axes.fill_between(data.C, *each.T, color=ORANGE, alpha=0.25, lw=0, label=name)
    axes.plot(data.C, data.L, color=ORANGE, lw=2, label="predicted at the optimum")
    axes.plot(data.minimum_C, data.minimum_L, "*", **MINIMUM)
    axes.axhline(law.irreducible, color=INK, lw=1.2, ls=":", label=f"irreducible loss = {law.irreducible:.3f}")
    top = float(np.quantile(data.run_loss, 0.97))
    bottom = min(law.irreducible, float(data.L_band.min()), float(data.run_loss.min()))
    axes.set_ylim(bottom - 0.05 * (top - bottom), top + 0.05 * (top - bottom))
    axes.set(ylabel=loss_label(law))
    axes.legend(frameon=False, loc="upper right")
    _compute_axis(axes, data)


def _compute_axis(axes: Axes, data: FrontierData) -> None:
    axes.set_xscale("log")
    axes.axvspan(*data.C_fitted, color=GREY, alpha=0.10, lw=0)
    powers_of_ten(axes)
    axes.set(xlabel="Compute C (FLOPs); shaded: range of the runs")


def powers_of_ten(axes: Axes) -> None:
    """Ticks of a compute axis, such as 10²¹."""
    _ticks(axes, "x", _power, factor=100)


def counts(axes: Axes, which: str) -> None:
    """Ticks such as 30M and 1B."""
    _ticks(axes, which, lambda value: format_count(value).replace(".00", "").replace(".0", ""), factor=300)


def _ticks(axes: Axes, which: str, show: Callable[[float], str], *, factor: float) -> None:
    """Log ticks at powers of ten, also at 3 where the axis spans less than `factor`."""
    axis = getattr(axes, f"{which}axis")
    low, high = getattr(axes, f"get_{which}lim")()
    axis.set_major_locator(LogLocator(subs=(1.0, 3.0) if high / low < factor else (1.0,), numticks=9))
    axis.set_major_formatter(FuncFormatter(lambda value, _: show(value)))
    axis.set_minor_locator(NullLocator())


def tidy(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(True, which="major", color="#e6e6e6", lw=0.7)
    axes.set_axisbelow(True)
    if axes.get_yscale() == "linear":
        axes.yaxis.set_major_locator(MaxNLocator(7))


def _power(value: float) -> str:
    """`6e10 -> 6·10¹⁰`; without matplotlib's mathematics, which takes longer than the rest of a figure's text."""
    mantissa, exponent = f"{value:.2e}".split("e")
    short = mantissa.rstrip("0").rstrip(".")
    power = "10" + str(int(exponent)).translate(SUPERSCRIPT)
    return power if short == "1" else f"{short}·{power}"
