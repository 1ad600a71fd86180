"""A figure that a notebook shows by itself, and that knows what its points stand for."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.transforms import Affine2D

from flops_fit.drawing.render import figure_png

_UNITS = 72  # of an SVG, to an inch


@dataclass(frozen=True, kw_only=True, eq=False)
class Named:
    """Points that stand for something: what, in words, where (data coordinates), and in which panel."""

    axes: Axes
    x: np.ndarray
    y: np.ndarray
    names: tuple[str, ...]


class ShownFigure(Figure):
    """A figure that a notebook shows by itself, without a magic line, and that knows what its points stand for."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.named: list[Named] = []

    def seen_points(self) -> list[tuple[float, float, str]]:
        """(x, y, in words) of every named point that can be seen, in units of the SVG from the top left."""
        found = []
        height, scale = _UNITS * self.get_size_inches()[1], _UNITS / self.dpi
        for item in self.named:
            places = item.axes.transData.transform(np.column_stack([item.x, item.y])) * scale
            box = item.axes.get_window_extent().transformed(Affine2D().scale(scale))
            for (x, y), name in zip(places.tolist(), item.names, strict=True):
                if box.x0 - 1 <= x <= box.x1 + 1 and box.y0 - 1 <= y <= box.y1 + 1:
                    found.append((round(x, 1), round(height - y, 1), name))
        return found

    def _repr_png_(self) -> tuple[bytes, dict[str, int]]:
        width, height = (round(_UNITS * inches) for inches in self.get_size_inches())
        return figure_png(self, dpi=2 * _UNITS), {"width": width, "height": height}


def name_points(axes: Axes, x: Iterable[float], y: Iterable[float], names: Iterable[str]) -> None:
    """Say what points stand for, so that a page can show it where somebody points at one."""
    names, figure = tuple(names), axes.figure
    if names and isinstance(figure, ShownFigure):
        figure.named.append(Named(axes=axes, x=np.asarray(x), y=np.asarray(y), names=names))
