"""Cells as people write them, `1.3B`, `1,234`, `3,27`, `1.3 × 10^9`, as numbers; `Finished` as what became of a run."""

from __future__ import annotations

import math
import re

import numpy as np
import pandas as pd

from flops_fit.tables.unit_words import factor_of, with_carets

_SPACES = re.compile("[\u2007\u2009\u202f\xa0]")
_GROUPED = re.compile(r"(?<=\d)[ '’](?=\d{3}(?:\D|$))")
_ABOUT = re.compile(r"^[~≈]\s*")
_ERROR = re.compile(r"\s*(?:±|\+/-|\+-).*$|\s+\([^)]*\)$")
_NUMBER = re.compile(
    r"([-+]?(?:\d[\d.,]*|\.\d+))"
    r"(?:\s*e\s*([-+]?\d+)|\s*(?:x|×|·|\*)\s*10\s*(?:\^|\*\*)\s*([-+]?\d+))?"
    r"\s*(%|[a-zµ#/][a-z0-9 /#.^-]*)?"
)
_POWER = re.compile(r"10\s*(?:\^|\*\*)\s*([-+]?\d+)")
_THOUSANDS = re.compile(r"[-+]?\d{1,3}(?:,\d{3})+")
_DOTTED = re.compile(r"[-+]?\d{1,3}(?:\.\d{3})+")
_GERMAN = re.compile(r"[-+]?\d{1,3}(?:\.\d{3}){2,}|[-+]?\d{1,3}(?:\.\d{3})+,\d+")
_MEASURES = {"nats", "nat", "bits", "bit", "bpb", "nats/token", "bits/byte", "bits/token", "nats per token", "ppl"}
COMPLETED = {
    *("completed", "complete", "finished", "success", "successful", "succeeded", "done", "ok", "passed", "final"),
    *("true", "yes", "1", "1.0"),
}
UNSAID = {"", "nan", "none", "<na>", "null", "-"}


def numbers(column: pd.Series, *, counts: bool, flops: bool = False) -> tuple[pd.Series, bool]:
    """Floats, NaN where a cell is no number, and whether any was written otherwise than as a plain number.

    `counts`: whether the column counts things (or FLOPs), where `1,234` is a thousand and more and `1.3B` may be
    written; elsewhere a comma is decimal.
    """
    if pd.api.types.is_bool_dtype(column) or pd.api.types.is_datetime64_any_dtype(column):
        return pd.Series(np.nan, index=column.index, dtype=float), False
    plain = pd.to_numeric(column, errors="coerce").astype(float)
    if pd.api.types.is_numeric_dtype(column):
        return plain, False
    cells = [_tidied(cell) if isinstance(cell, str | bytes) else "" for cell in column]
    dotted = counts and any(map(_GERMAN.fullmatch, cells))  # 1.234.567: then 1.234 is a thousand and more, too
    told = [
        _number(cell, counts, dotted, flops) if cell and (value != value or dotted) else value
        for cell, value in zip(cells, plain, strict=True)
    ]
    read = pd.Series(told, index=column.index, dtype=float)
    return read, not read.equals(plain)


def _tidied(cell: str | bytes) -> str:
    text = cell.decode(errors="replace") if isinstance(cell, bytes) else cell
    text = with_carets(_SPACES.sub(" ", text).strip().lower().replace("_", ""))
    return _GROUPED.sub("", _ERROR.sub("", _ABOUT.sub("", text)))


def _number(cell: str, counts: bool, dotted: bool, flops: bool) -> float:
    if power := _POWER.fullmatch(cell):
        return _scaled(1.0, power[1], 1.0)
    match = _NUMBER.fullmatch(cell)
    if not match:
        return math.nan
    factor = _suffix(match[4] or "", counts, flops)
    mantissa = _mantissa(match[1], counts, dotted)
    return math.nan if factor is None or mantissa is None else _scaled(mantissa, match[2] or match[3] or "0", factor)


def _scaled(mantissa: float, exponent: str, factor: float) -> float:
    return float(f"{mantissa!r}e{exponent}") * factor


def _suffix(text: str, counts: bool, flops: bool) -> float | None:
    if text == "%":
        return 0.01
    if not counts:
        return 1.0 if not text or text.strip() in _MEASURES else None
    return factor_of(text, flops=flops)


def _mantissa(text: str, counts: bool, dotted: bool) -> float | None:
    """Digits with commas and points: the last of them is decimal where both are there."""
    if "," in text and "." in text:
        decimal, other = (",", ".") if text.rfind(",") > text.rfind(".") else (".", ",")
        text = text.replace(other, "").replace(decimal, ".")
    elif (counts or text.count(",") > 1) and _THOUSANDS.fullmatch(text):
        text = text.replace(",", "")
    elif (dotted or text.count(".") > 1) and _DOTTED.fullmatch(text):
        text = text.replace(".", "")
    else:
        text = text.replace(",", ".")
    try:
        return float(text)
    except ValueError:
        return None


def statuses(column: pd.Series) -> pd.Series:
    """ "completed" for what says so in any usual word, and for what says nothing; any other as it is written."""
    said = column.astype(str).str.strip()
    lowered = said.str.lower()
    done = lowered.isin(COMPLETED) | lowered.isin(UNSAID) | column.isna()
    return said.where(~done, "completed").where(~lowered.isin({"false", "0", "0.0"}), "not completed")


def is_number(text: str) -> bool:
    """Whether a cell is a number in any of these ways."""
    try:
        float(text)
    except ValueError:
        return not math.isnan(_number(_tidied(text), True, False, True)) if text else False
    return True
