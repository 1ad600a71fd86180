"""The look of the HTML report and the pieces it is made of."""

from __future__ import annotations

import html
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

STYLE = """
:root { color-scheme: light; --ink: #1c1e21; --soft: #5f6670; --line: #e3e6ea; --accent: #0072b2; }
* { box-sizing: border-box; }
body { font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Liberation Sans", sans-serif; color: var(--ink);
  margin: 0 auto; max-width: 1080px; padding: 40px 28px 80px; background: #fff; }
h1 { font-size: 30px; margin: 0 0 4px; letter-spacing: -0.01em; } h2 { font-size: 20px; margin: 44px 0 10px; }
p.lead { color: var(--soft); margin: 0 0 22px; } code, .law { font-family: ui-monospace, "Liberation Mono", monospace; }
.law { background: #f5f7f9; border-radius: 8px; padding: 14px 18px; font-size: 17px; overflow-x: auto; }
.verdict { border-left: 6px solid; border-radius: 6px; padding: 12px 18px; margin: 20px 0; background: #f5f7f9; }
.verdict b { font-size: 18px; }
.ok { border-color: #009e73; } .warn { border-color: #e69f00; } .bad { border-color: #d55e00; }
table { border-collapse: collapse; width: 100%; font-size: 15px; font-variant-numeric: tabular-nums; }
th { text-align: right; font-weight: 600; color: var(--soft); border-bottom: 2px solid var(--line); padding: 6px 10px; }
td { text-align: right; border-bottom: 1px solid var(--line); padding: 6px 10px; }
th:first-child, td:first-child, td.text, th.text { text-align: left; }
.whole { white-space: nowrap; }
.tag { border-radius: 4px; padding: 1px 8px; font-size: 13px; white-space: nowrap; border: 1px solid; }
.tag.error { color: #a63c00; } .tag.warning { color: #8a5a00; } .tag.info { color: #4b5560; }
figure { margin: 22px 0 30px; } figure img { width: 100%; height: auto; display: block; }
img[alt="contours"] { max-width: 680px; }
figcaption { color: var(--soft); font-size: 14px; margin-top: 6px; }
details { margin-top: 10px; } summary { cursor: pointer; color: var(--accent); }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 4px 18px; margin: 0; }
dt { color: var(--soft); } dd { margin: 0; }
pre { background: #f5f7f9; border-radius: 8px; padding: 14px 18px; overflow-x: auto; font-size: 13px; }
@media print { body { padding: 0; max-width: none; } figure, table { break-inside: avoid; } }
"""


def html_table(headers: Sequence[str], rows: Iterable[Sequence[str]], text: Sequence[int] = ()) -> str:
    """An HTML table; cells are HTML already, `text` the columns to set flush left."""
    kinds = ['class="text"' if index in text else "" for index in range(len(headers))]
    head = "".join(f"<th {kind}>{title}</th>" for kind, title in zip(kinds, headers, strict=True))
    body = "".join(
        "<tr>" + "".join(f"<td {kind}>{cell}</td>" for kind, cell in zip(kinds, row, strict=True)) + "</tr>"
        for row in rows
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


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
