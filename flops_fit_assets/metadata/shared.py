"""What each asset shows of itself in Dagster: tables, numbers that plot over time and partitions, figures, files."""

from __future__ import annotations

import base64
import hashlib
import io
import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dagster import MetadataValue

from flops_fit.basics.formatting import markdown_table
from flops_fit.drawing.drawn import Drawn, NotDrawn
from flops_fit_assets.storage.store import StudyStore

Metadata = dict[str, Any]
FIGURE_WIDTH = 430  # pixels
_LARGE = 100_000  # bytes of a figure that is kept in an event
_ROWS = 60  # of a table shown inline; the file has all


def file_value(store: StudyStore, path: Path) -> MetadataValue:
    """A link that opens `path` from the pages which serve the study's files; elsewhere its path, to be copied: browsers
    follow no `file://` link of a page."""
    address = store.address(path)
    return MetadataValue.url(address) if address else MetadataValue.path(str(path))


def shown_figure(store: StudyStore, figure: Drawn | NotDrawn) -> MetadataValue:
    """A figure that is kept among the study's plots: seen without a click where the pages serve it, else inside them.

    Dagster shows short Markdown at once, and that of a whole image behind a click. What is shown is as wide as the page
    of a laptop leaves room for, and leads to the figure in full. An address with the hash of the figure shows that one
    or, when it was drawn again since, none.
    """
    address = store.address(store.directory / "plots" / f"{figure.name}.png")
    if address is None or isinstance(figure, NotDrawn):
        return figure_markdown(figure)
    version = hashlib.sha256(figure.png).hexdigest()[:16]
    shown = f"![{figure.title}]({address}?sha256={version}&width={FIGURE_WIDTH})"
    return MetadataValue.md(f"[{shown}]({address}?sha256={version})")


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


def kept_figure(figure: Drawn | NotDrawn) -> MetadataValue:
    """`figure_markdown` for what an event keeps for ever, of which the page reads many: one that is large, as of
    thousands of runs, is narrowed to twice the width that pages show, in 256 colours."""
    if isinstance(figure, NotDrawn) or min(len(figure.svg), len(figure.png)) <= _LARGE:
        return figure_markdown(figure)
    return figure_markdown(Figure(title=figure.title, png=_narrowed(figure.png, 2 * FIGURE_WIDTH)))


def _narrowed(png: bytes, width: int) -> bytes:
    from PIL import Image  # with matplotlib, which drew it

    with Image.open(io.BytesIO(png)) as image:
        height = max(1, round(image.height * width / image.width))
        small = image.convert("RGB").resize((width, height), Image.Resampling.LANCZOS).quantize(256)
    written = io.BytesIO()
    small.save(written, "PNG", optimize=True)
    return written.getvalue()


def svg_markdown(alt: str, svg: str) -> MetadataValue:
    """A vector graphic inside Dagster's page, as an image in Markdown."""
    return MetadataValue.md(f"![{alt}](data:image/svg+xml;base64,{base64.b64encode(svg.encode()).decode()})")


def rounded(value: float, digits: int = 4) -> float:
    """`value` to so many digits: what nobody reads and no plot shows is left out."""
    return float(f"{value:.{digits}g}")


def inline_table(headers: Iterable[str], rows: Iterable[tuple[Any, ...]]) -> MetadataValue:
    """A table in Markdown, cut off after sixty rows; the file has all of them."""
    rows = list(rows)
    text = markdown_table(list(headers), rows[:_ROWS])
    if len(rows) > _ROWS:
        text += f"\n\n… and {len(rows) - _ROWS} more rows in the file"
    return MetadataValue.md(text)
