"""Cells as people write them: `1.3B`, `1,234`, `3,27`, `Finished`, read as numbers and as whether a run completed."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd

_SUFFIXES = {"": 1.0, "k": 1e3, "m": 1e6, "b": 1e9, "g": 1e9, "t": 1e12}
_THOUSANDS = re.compile(r"[-+]?\d{1,3}(?:,\d{3})+(?:\.\d+)?")
_COMMA = re.compile(r"[-+]?\d+,\d+(?:e[-+]?\d+)?")
_NUMBER = re.compile(r"([-+]?(?:\d+\.?\d*|\.\d+)(?:e[-+]?\d+)?)\s*([kmbgt]?)")
COMPLETED = {
    "completed",
    "complete",
    "finished",
    "success",
    "successful",
    "succeeded",
    "done",
    "ok",
    "true",
    "1",
    "1.0",
}
UNSAID = {"", "nan", "none", "<na>"}


def numbers(column: pd.Series, *, counts: bool) -> tuple[pd.Series, bool]:
    """Floats, NaN where a cell is no number, and whether any was written otherwise than as a plain number.

    `counts`: whether the column counts things, where `1,234` is a thousand and more; elsewhere its comma is decimal.
    """
    plain = pd.to_numeric(column, errors="coerce").astype(float)
    if pd.api.types.is_numeric_dtype(column):
        return plain, False
    told = [_number(str(cell), counts) if value != value else value for cell, value in zip(column, plain, strict=True)]
    read = pd.Series(told, index=column.index, dtype=float)
    return read, bool((read.notna() & plain.isna()).any())


def _number(cell: str, counts: bool) -> float:
    text = cell.strip().lower().replace("_", "").replace("\u202f", "").replace("\xa0", "")
    if counts and _THOUSANDS.fullmatch(text):
        text = text.replace(",", "")
    elif _COMMA.fullmatch(text):
        text = text.replace(",", ".")
    match = _NUMBER.fullmatch(text)
    return float(match[1]) * _SUFFIXES[match[2]] if match else np.nan


def statuses(column: pd.Series) -> pd.Series:
    """ "completed" for what says so in any usual word, and for what says nothing; any other as it is written."""
    said = column.astype(str).str.strip()
    lowered = said.str.lower()
    done = lowered.isin(COMPLETED) | lowered.isin(UNSAID) | column.isna()
    return said.where(~done, "completed").where(~lowered.isin({"false", "0", "0.0"}), "not completed")
