"""The figures of a law with what is said of them, in reading order."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING

from flops_fit.drawing.drawn import Drawn, NotDrawn, drawn
from flops_fit.scaling_law.figures import alt_texts
from flops_fit.scaling_law.fitted import FittedLaw

if TYPE_CHECKING:
    from flops_fit.drawing.shown_figure import ShownFigure


@dataclass(frozen=True, kw_only=True)
class Kind:
    """One of a law's figures: `plot` is the name of the function that draws it."""

    title: str
    plot: str
    alt: Callable[[FittedLaw], str]
    caption: str
    scale: bool = False


KINDS = {
    "isoflop": Kind(
        title="IsoFLOP curves",
        plot="isoflop_figure",
        alt=alt_texts.isoflop_text,
        caption="Every run, by budget; the law (lines) is fitted to all of them at once. The dashed line follows the "
        "law's optimum; stars are the minima of each budget's own parabola (dotted up to 6 budgets), which knows "
        "nothing of the law.",
    ),
    "frontier": Kind(
        title="compute-optimal frontier",
        plot="frontier_figure",
        alt=alt_texts.frontier_text,
        caption="The compute-optimal model and tokens, and the loss to expect, with pointwise 90 % intervals.",
    ),
    "tokens_per_param": Kind(
        title="tokens per parameter",
        plot="ratio_figure",
        alt=alt_texts.ratio_text,
        caption="Tokens per parameter of every run, and at the law's optimum with its 90 % interval. Runs should lie "
        "on both sides of the optimum that they are meant to locate.",
    ),
    "residuals": Kind(
        title="residuals",
        plot="residual_figure",
        alt=alt_texts.residual_text,
        caption="What the law leaves unexplained, one point a run in the colours of the first figure; the line joins "
        "the medians of the budgets. A trend of the medians, or a bend away from the optimum, means that the law's "
        "form does not hold and extrapolation is biased.",
    ),
    "exponents": Kind(
        title="exponents",
        plot="cloud_figure",
        alt=alt_texts.exponents_text,
        caption="The fit repeated on resampled runs.",
    ),
    "contours": Kind(
        title="predicted loss",
        plot="contour_figure",
        alt=alt_texts.contour_text,
        caption="Predicted loss; runs should surround the optimum they are meant to locate.",
        scale=True,
    ),
}


def law_figures(law: FittedLaw, *, without: Collection[str] = ()) -> dict[str, Drawn | NotDrawn]:
    """Every figure by name, those named in `without` left out; one that cannot be drawn is a note."""
    return {name: law_figure(law, name) for name in KINDS if name not in without}


def law_figure(law: FittedLaw, name: str) -> Drawn | NotDrawn:
    """The figure called `name`, or why it could not be drawn."""
    kind = KINDS[name]

    def draw() -> ShownFigure:
        from flops_fit.scaling_law.figures import plots

        return getattr(plots, kind.plot)(law)

    return drawn(name, kind.title, draw, lambda: kind.alt(law), lambda: kind.caption, scale=kind.scale)
