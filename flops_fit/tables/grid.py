"""Rows of cells made a table: which row has the headings, and which are no rows of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from flops_fit.tables.headings import heading
from flops_fit.tables.unit_words import factor_of
from flops_fit.tables.values import is_number

if TYPE_CHECKING:
    import pandas as pd

FIRST = 30  # rows among which the headings are looked for


class Malformed(ValueError):
    """What is wrong with a table, with its remedy."""


def known_headings(row: Sequence[Any]) -> int:
    """How many cells are headings of a run's quantities."""
    return len({found.name for cell in row if isinstance(cell, str) and (found := heading(cell)) is not None})


def header_row(rows: Sequence[Sequence[Any]]) -> int:
    """The first row with two headings of a run, below titles and remarks; else the first that is not empty."""
    known = (at for at, row in enumerate(rows[:FIRST]) if known_headings(row) > 1)
    return next(known, next((at for at, row in enumerate(rows) if not is_empty(row)), 0))


def is_empty(row: Sequence[Any]) -> bool:
    """Whether no cell says anything."""
    return all(cell is None or cell != cell or (isinstance(cell, str) and not cell.strip()) for cell in row)


def checked_header(row: Sequence[Any]) -> list[str]:
    """The headings as text; raises `Malformed` for numbers in their place, and for one that is there twice."""
    names = ["" if cell is None or cell != cell else str(cell).strip() for cell in row]
    if not known_headings(names) and any(is_number(name) for name in names):
        raise Malformed(
            f"its first line has numbers ({', '.join(names)[:60]}), not names of columns; put one above it, such as "
            "num_params,num_tokens,loss"
        )
    twice = sorted(name for name, count in Counter(names).items() if count > 1 and name)
    if twice:
        raise Malformed(f"it has more than one column {', '.join(twice)}; keep one of each")
    return names


def with_units(names: Sequence[str], below: Sequence[Any]) -> list[str] | None:
    """Headings with the units that the row below them has, as `params (M)`; None where it has none."""
    cells = ["" if cell is None or cell != cell else str(cell).strip() for cell in below]
    cells += [""] * (len(names) - len(cells))
    said = [(name, cell) for name, cell in zip(names, cells, strict=False) if cell and heading(name) is not None]
    if not said or any(is_number(cell) for cell in cells) or not all(_is_unit(cell) for _, cell in said):
        return None
    united = [f"{name} ({cell})" if (name, cell) in said else name for name, cell in zip(names, cells, strict=False)]
    return [new if heading(new) is not None else old for old, new in zip(names, united, strict=True)]


def _is_unit(cell: str) -> bool:
    return factor_of(cell, flops=True) is not None or heading(f"loss ({cell})") is not None


def from_rows(rows: Sequence[Sequence[Any]]) -> tuple[pd.DataFrame, int]:
    """A table of cells that are values already (of a sheet), and how many of its headings are a run's."""
    import pandas as pd

    if not rows:
        return pd.DataFrame(), 0
    at = header_row(rows)
    names = checked_header(rows[at])
    below = [row for row in rows[at + 1 :] if not is_empty(row)]
    if below and (united := with_units(names, below[0])) is not None:
        names, below = united, below[1:]
    kept = [column for column, name in enumerate(names) if name]
    frame = pd.DataFrame([[row[column] for column in kept] for row in below], columns=[names[at] for at in kept])
    return frame.infer_objects(), known_headings(names)
