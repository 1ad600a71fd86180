"""Panels, ticks and grids: what every figure is laid out with."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from flops_fit.basics.formatting import format_count
from flops_fit.drawing.colours import LINES, RED
from flops_fit.drawing.shown_figure import ShownFigure, name_points

FEW = 6  # curves up to which each is drawn with all that belongs to it
MANY = 1000  # points that are a picture rather than a mark each
MARKERS = "os^Dvp<>hX"
MINIMUM: dict[str, Any] = {"color": RED, "ms": 12, "mec": "white", "mew": 0.8, "zorder": 5}
SUPERSCRIPT = str.maketrans("0123456789-", "⁰¹²³⁴⁵⁶⁷⁸⁹⁻")


def points(axes: Axes, x: Any, y: Any, marker: str, names: Iterable[str] = (), **style: Any) -> None:
    """Draw points, which `names` (the same number, or none) say something of; many of them as one picture in an SVG."""
    axes.plot(x, y, marker, rasterized=len(x) > MANY, **style)
    name_points(axes, x, y, names)


def panels(
    width: float,
    height: float,
    count: int,
    *,
    rows: int = 1,
    gap: float = 0.9,
    right: float = 0.15,
    sharey: bool = False,
) -> tuple[ShownFigure, Sequence[Axes]]:
    """A figure with `rows` of `count` panels side by side, in reading order, all lengths in inches: laid out
    beforehand, since Matplotlib's own layout engines draw everything twice more to find out."""
    figure = ShownFigure(figsize=(width, height))
    left, above, below = 0.9, 0.4, 0.6
    panel = (width - left - right - gap * (count - 1)) / count
    tall = (height - (above + below) * rows) / rows
    margins = {"left": left / width, "right": 1 - right / width, "bottom": below / height, "top": 1 - above / height}
    figure.subplots_adjust(**margins, wspace=gap / panel, hspace=(above + below) / tall)
    return figure, [*figure.subplots(rows, count, sharey=sharey, squeeze=False).ravel()]


def powers_of_ten(axes: Axes) -> None:
    """Ticks of a compute axis, such as 10²¹."""
    ticks(axes, "x", power, factor=100)


def counts(axes: Axes, which: str) -> None:
    """Ticks such as 30M and 1B."""
    ticks(axes, which, lambda value: format_count(value).replace(".00", "").replace(".0", ""), factor=300)


def ticks(axes: Axes, which: str, show: Callable[[float], str], *, factor: float) -> None:
    """Log ticks at powers of ten, also at 3 where the axis spans less than `factor`."""
    axis = getattr(axes, f"{which}axis")
    low, high = getattr(axes, f"get_{which}lim")()
    axis.set_major_locator(LogLocator(subs=(1.0, 3.0) if high / low < factor else (1.0,), numticks=9))
    axis.set_major_formatter(FuncFormatter(lambda value, _: show(value)))
    axis.set_minor_locator(NullLocator())


def tidy(axes: Axes) -> None:
    """No frame at the top and the right, and a grid behind everything."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(True, which="major", color=LINES, lw=0.7)
    axes.set_axisbelow(True)
    if axes.get_yscale() == "linear":
        axes.yaxis.set_major_locator(MaxNLocator(7))


def power(value: float) -> str:
    """`6e10 -> 6·10¹⁰`; without matplotlib's mathematics, which takes longer than the rest of a figure's text."""
    mantissa, exponent = f"{value:.2e}".split("e")
    short = mantissa.rstrip("0").rstrip(".")
    power = "10" + str(int(exponent)).translate(SUPERSCRIPT)
    return power if short == "1" else f"{short}·{power}"


def budget_colours(computes: Sequence[float] | np.ndarray) -> Callable[[Any], Any]:
    """Compute → colour: `viridis` over the logarithm of what is drawn, its palest end left out."""
    norm = LogNorm(min(computes) / 1.3, max(computes) * 2.2)
    return lambda compute: colormaps["viridis"](norm(compute))
