"""A figure in the report, with its caption, and what its points say when somebody points at them."""

from __future__ import annotations

import html
import json
from dataclasses import dataclass, field

from flops_fit.drawing.drawn import Drawn, NotDrawn


@dataclass
class PointTexts:
    """What points say, each text once on the page; points refer to it by number."""

    numbers: dict[str, int] = field(default_factory=dict)

    def number(self, text: str) -> int:
        """Of a text, which is kept."""
        return self.numbers.setdefault(text, len(self.numbers))


def figure_block(figure: Drawn | NotDrawn, texts: PointTexts) -> str:
    """The figure in the page itself, as SVG; of one that could not be drawn, why."""
    if isinstance(figure, NotDrawn):
        reason = html.escape(figure.reason)
        return f'<p class="note">The figure “{html.escape(figure.title)}” could not be drawn ({reason}).</p>'
    points = [[x, y, texts.number(said)] for x, y, said in figure.points]
    said = html.escape(f"{figure.title}; arrow keys go from point to point")
    reached = f' tabindex="0" role="group" aria-label="{said}"' if points else ""
    data = f'<script type="application/json">{_json(points)}</script>' if points else ""
    caption = f"<figcaption>{html.escape(figure.caption)}</figcaption>" if figure.caption else ""
    picture = f'<div class="picture"{reached}>{figure.inline}{data}</div>'
    return f'<figure class="{html.escape(figure.name)}">{picture}{caption}</figure>'


def point_texts(texts: PointTexts) -> str:
    """The texts of all points of the page, by number."""
    return f'<script type="application/json" id="points">{_json([*texts.numbers])}</script>' if texts.numbers else ""


def _json(value: object) -> str:
    """JSON that ends no script, whatever a run is called."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).replace("<", "\\u003c")
