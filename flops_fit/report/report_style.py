"""The pieces that the HTML report is made of."""

from __future__ import annotations

import html
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

NOT_SHOWN = "<p>Not shown, since the runs do not support a law.</p>"


def html_table(headers: Sequence[str], rows: Iterable[Sequence[str]], text: Sequence[int] = ()) -> str:
    """An HTML table, sortable by its headers; cells are HTML already, `text` the columns to set flush left."""
    kinds = [' class="text"' if index in text else "" for index in range(len(headers))]
    head = "".join(f'<th scope="col"{kind}>{title}</th>' for kind, title in zip(kinds, headers, strict=True))
    body = "".join(
        "<tr>" + "".join(f"<td{kind}>{cell}</td>" for kind, cell in zip(kinds, row, strict=True)) + "</tr>"
        for row in rows
    )
    return f'<div class="table"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def escaped(rows: Iterable[Sequence[str]]) -> list[tuple[str, ...]]:
    """Rows of plain text as cells of `html_table`."""
    return [tuple(map(html.escape, row)) for row in rows]


def definitions(facts: Mapping[str, Any]) -> str:
    """Facts as a definition list."""
    items = "".join(f"<dt>{html.escape(str(k))}</dt><dd>{html.escape(str(v))}</dd>" for k, v in facts.items())
    return f"<dl>{items}</dl>"


def json_block(content: Mapping[str, Any]) -> str:
    """Plain values as indented JSON."""
    return f"<pre>{html.escape(json.dumps(content, indent=2, default=str))}</pre>"


def details(title: str, content: str) -> str:
    """A block that opens on a click."""
    return f"<details><summary>{title}</summary>{content}</details>"


def interval_text(interval: tuple[float, float], show: Any) -> str:
    """`low – high`."""
    return f"{show(interval[0])} – {show(interval[1])}"
