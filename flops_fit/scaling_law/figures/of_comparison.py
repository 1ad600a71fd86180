"""The figure of laws that were compared, with what is said of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flops_fit.basics.formatting import format_flops, format_loss
from flops_fit.drawing.drawn import Drawn, NotDrawn, drawn

if TYPE_CHECKING:
    from flops_fit.scaling_law.comparison.comparison import Comparison
    from flops_fit.scaling_law.comparison.ranking import Ranking

CAPTION = (
    "Left: the loss at each law's own optimum against compute, with pointwise 90 % intervals, and the runs. Right: how "
    "far the laws lie apart, with 90 % intervals."
)


def figure_of(found: Comparison | Ranking) -> Drawn | NotDrawn:
    """Of what `compare_laws` or `rank_laws` found."""
    return drawn("law_comparison", "laws compared", found.plot, lambda: _alt(found), lambda: CAPTION)


def _alt(found: Comparison | Ranking) -> str:
    names = ", ".join(found.names)
    losses = "; ".join(
        f"at {format_flops(at.compute)} FLOPs {', '.join(map(format_loss, at.losses))}" for at in found.targets
    )
    return f"Loss at the optimum against compute of {names}: {losses}. {' '.join(found.sentences)}"
