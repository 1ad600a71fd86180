"""A figure with what is said of it, rendered as it is asked for."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from flops_fit.drawing.inline_svg import inline_svg, with_short_numbers
from flops_fit.errors import FlopsFitWarning

if TYPE_CHECKING:
    from flops_fit.drawing.shown_figure import ShownFigure


@dataclass(frozen=True, kw_only=True, eq=False)
class Drawn:
    """One figure.

    Attributes:
        name: short, as of a file.
        title: for people.
        alt: what it shows, with its numbers, for who cannot see it.
        caption: how to read it.
        scale: whether its colours are a scale, which must look the same on dark.
    """

    name: str
    title: str
    alt: str
    caption: str
    figure: ShownFigure
    scale: bool = False

    @functools.cached_property
    def png(self) -> bytes:
        """As a picture."""
        from flops_fit.drawing.render import figure_png

        return figure_png(self.figure)

    @functools.cached_property
    def svg(self) -> str:
        """As a file of its own, on white."""
        from flops_fit.drawing.render import figure_svg

        return with_short_numbers(figure_svg(self.figure))

    @functools.cached_property
    def inline(self) -> str:
        """As a part of an HTML page."""
        return inline_svg(self.svg, self.name, self.alt, lighten=not self.scale)

    @functools.cached_property
    def points(self) -> list[tuple[float, float, str]]:
        """(x, y, in words) of its points that say something of themselves, in units of the SVG."""
        return self.figure.seen_points()


@dataclass(frozen=True, kw_only=True)
class NotDrawn:
    """A figure that could not be drawn, and why."""

    name: str
    title: str
    reason: str


def drawn(
    name: str,
    title: str,
    draw: Callable[[], ShownFigure],
    alt: Callable[[], str],
    caption: Callable[[], str],
    *,
    scale: bool = False,
) -> Drawn | NotDrawn:
    """The figure that `draw` makes; what goes wrong there is a note and a warning, as no figure is worth a law."""
    try:
        made = Drawn(name=name, title=title, alt=alt(), caption=caption(), figure=draw(), scale=scale)
        _ = made.inline, made.points
        return made
    except Exception as error:  # whatever numbers a law has
        reason = f"{type(error).__name__}: {error}"
        warnings.warn(f"the figure {title!r} is left out: {reason}", FlopsFitWarning, stacklevel=2)
        return NotDrawn(name=name, title=title, reason=reason)
