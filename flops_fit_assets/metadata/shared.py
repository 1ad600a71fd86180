"""What each asset shows of itself in Dagster: tables, numbers that plot over time and partitions, figures, files."""

from __future__ import annotations

import base64
import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from dagster import MetadataValue

from flops_fit.basics.formatting import markdown_table
from flops_fit.drawing.drawn import Drawn, NotDrawn

Metadata = dict[str, Any]
_ROWS = 60  # of a table shown inline; the file has all


def finite(shown: Metadata) -> Metadata:
    """The same with NaN and infinity as text: JSON, in which Dagster's pages get their numbers, has neither."""
    odd = {name: str(value) for name, value in shown.items() if isinstance(value, float) and not math.isfinite(value)}
    return shown | odd


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One figure as a PNG image."""

    title: str
    png: bytes


def figure_markdown(figure: Figure | Drawn | NotDrawn) -> MetadataValue:
    """A figure inside Dagster's page, as an image in Markdown, or why there is none."""
    if isinstance(figure, NotDrawn):
        return MetadataValue.md(f"could not be drawn: {figure.reason}")
    if isinstance(figure, Drawn) and len(figure.svg) < len(figure.png):
        return svg_markdown(figure.title, figure.svg)
    return MetadataValue.md(f"![{figure.title}](data:image/png;base64,{base64.b64encode(figure.png).decode()})")


def svg_markdown(alt: str, svg: str) -> MetadataValue:
    """A vector graphic inside Dagster's page, as an image in Markdown."""
    return MetadataValue.md(f"![{alt}](data:image/svg+xml;base64,{base64.b64encode(svg.encode()).decode()})")


def inline_table(headers: Iterable[str], rows: Iterable[tuple[Any, ...]]) -> MetadataValue:
    """A table in Markdown, cut off after sixty rows; the file has all of them."""
    rows = list(rows)
    text = markdown_table(list(headers), rows[:_ROWS])
    if len(rows) > _ROWS:
        text += f"\n\n… and {len(rows) - _ROWS} more rows in the file"
    return MetadataValue.md(text)
