"""HTML for the output of a notebook's cell, whatever its theme."""

from __future__ import annotations

import base64
import html
from collections.abc import Iterable, Sequence

_CELL = "text-align:right;padding:3px 10px;vertical-align:top"
_IN_A_LINE = ";white-space:nowrap"


def plain_table(headers: Sequence[str], rows: Iterable[Sequence[str]], *, wrapped: bool = False) -> str:
    """A table of text in the notebook's own look, the first column flush left; long cells in lines if `wrapped`."""
    style = _CELL if wrapped else _CELL + _IN_A_LINE
    head = _cells("th", headers, style)
    body = "".join(f"<tr>{_cells('td', row, style)}</tr>" for row in rows)
    return f'<table style="font-size:inherit;margin:10px 0"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'


def picture(png: bytes, alt: str, width: int) -> str:
    """A picture of `width` pixels, whatever its resolution."""
    data = base64.b64encode(png).decode()
    return f'<img alt="{html.escape(alt)}" width="{width}" style="max-width:100%" src="data:image/png;base64,{data}">'


def boxed(content: str) -> str:
    """`content`, HTML already, as one element."""
    return f'<div class="flops-fit">{content}</div>'


def _cells(kind: str, values: Sequence[str], style: str) -> str:
    styles = [style.replace("right", "left"), *[style] * (len(values) - 1)]
    cells = zip(styles, values, strict=True)
    return "".join(f'<{kind} style="{style}">{html.escape(value)}</{kind}>' for style, value in cells)
