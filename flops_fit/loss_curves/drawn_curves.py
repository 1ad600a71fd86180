"""The figure of a study's training curves, with what is said of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from flops_fit.drawing.drawn import Drawn, NotDrawn, drawn
from flops_fit.loss_curves.curve_data import curves_caption, curves_text
from flops_fit.loss_curves.curves import LossCurve

if TYPE_CHECKING:
    from flops_fit.drawing.shown_figure import ShownFigure

NAME = "training_curves"


def drawn_curves(curves: Sequence[LossCurve], loss_unit: str = "") -> dict[str, Drawn | NotDrawn]:
    """The figure by its name, or nothing where there are no curves; one that cannot be drawn is a note."""
    if not curves:
        return {}

    def draw() -> ShownFigure:
        from flops_fit.loss_curves.figures import curves_figure

        return curves_figure(curves, loss_unit)

    made = drawn(NAME, "training curves", draw, lambda: curves_text(curves), lambda: curves_caption(curves))
    return {NAME: made}
