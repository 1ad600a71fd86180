"""Read a DataFrame, a file or results into the runs table's own column names and units."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from flops_fit.basics.arguments import LEFT_OUT, Rule
from flops_fit.errors import FitError
from flops_fit.scaling_law.table.units import A_FEW, explained, typed
from flops_fit.tables.losses import NATS
from flops_fit.tables.named import Units, missing_columns, named_table

LOSS_UNIT = LEFT_OUT | Rule(
    lambda unit: isinstance(unit, str) and len(unit) <= 40 and unit.isprintable(), 'words such as "bits per byte"'
)
UNIT_TAKEN = (
    "losses are taken for nats per token, which no heading says; another unit: --loss-kind bits or bits-per-byte"
)
SMALLEST_PLAUSIBLE = 1000.0  # a study whose largest model or longest run is below this is probably in other units,
BUDGET_NEAR = 3.0  # factor between a budget and 6·N·D
SMALLEST_FLOPS = 1e5  # unless FLOPs that are no smaller than this fit to them
POSSIBLE_RATIOS = (1e-3, 1e7)  # of FLOPs to N·D, beyond which one of the three is in another unit, in nearly all rows


@dataclass(frozen=True, kw_only=True)
class Table:
    """Runs under our column names, numbers as floats: what was renamed, scaled or derived is in `notes`.

    `loss_unit` is what the column's own name or the kind of loss says, else nats per token; `confirmed` are the columns
    whose units were given; `derived`: FLOPs or tokens follow from the others; `loss_offset` was added to the losses;
    `unread` are cells that are no numbers, row → text by column; `of_unit` is what to tell of the losses' unit.
    """

    frame: pd.DataFrame
    notes: tuple[str, ...]
    loss_unit: str
    confirmed: tuple[str, ...]
    derived: bool
    loss_offset: float = 0.0
    unread: Mapping[str, Mapping[int, str]] = field(default_factory=dict)
    of_unit: tuple[str, ...] = ()


def runs_table(
    runs: Any,
    units: Units | None = None,
    columns: Mapping[str, str | None] | None = None,
    loss_kind: str | None = None,
    loss_offset: float = 0.0,
) -> Table:
    """A copy of `runs` as a `Table`.

    `runs`: a DataFrame, a path (a file or a directory of results), or a list of results or mappings. The others are as
    of `flops_fit.tables.named.named_table`.
    Raises `FitError` for missing columns and for columns in implausible units.
    """
    original = _read(runs)
    read = named_table(original, units=units, columns=columns, loss_kind=loss_kind, loss_offset=loss_offset)
    table, notes = read.frame, list(read.notes)
    _take_budget_for_flops(table, notes)
    derived = not {"flops", "num_tokens"} <= set(table.columns)
    _derive_missing(table, original, notes)
    _check_units(table, read.confirmed, derived)
    return Table(
        frame=table,
        notes=tuple(notes),
        loss_unit=read.loss_unit or ("" if read.loss_kind == "other" else NATS),
        confirmed=(*read.confirmed, *(["loss"] if read.loss_kind else [])),
        derived=derived,
        loss_offset=read.loss_offset,
        unread=read.unread,
        of_unit=() if read.loss_unit or read.loss_kind or "loss" in original.columns else (UNIT_TAKEN,),
    )


def _read(runs: Any) -> pd.DataFrame:
    if isinstance(runs, pd.DataFrame):
        return runs
    if isinstance(runs, str) and "://" in runs:
        raise FitError(f"runs = {runs!r} is an address; download it, and give the file")
    if isinstance(runs, str | os.PathLike):
        from flops_fit.results.results import load_runs

        return load_runs(Path(runs))
    if isinstance(runs, Mapping):
        return pd.DataFrame(dict(runs))
    if isinstance(runs, Iterable):
        return pd.DataFrame([_row(item) for item in runs])
    raise FitError(f"runs = {type(runs).__name__} is not a DataFrame, path or list of results; give one of these")


def _row(item: Any) -> dict[str, Any]:
    if isinstance(item, Mapping):
        return dict(item)
    if hasattr(item, "to_dict") and not isinstance(item, pd.Series):
        return dict(item.to_dict())
    raise FitError(f"a run of type {type(item).__name__} has no to_dict(); give results, mappings or a DataFrame")


def _take_budget_for_flops(table: pd.DataFrame, notes: list[str]) -> None:
    """Without FLOPs, a budget that is near 6·N·D is what each run took; without tokens too, it is all there is."""
    if "flops" in table or not {"compute_budget", "num_params"} <= set(table.columns):
        return
    if "num_tokens" in table:
        ratio = (table["compute_budget"] / (6 * table["num_params"] * table["num_tokens"])).median()
        if not 1 / BUDGET_NEAR <= ratio <= BUDGET_NEAR:
            return
    table["flops"] = table["compute_budget"]
    notes.append("flops = compute_budget, since no FLOPs were given")


def _derive_missing(table: pd.DataFrame, original: pd.DataFrame, notes: list[str]) -> None:
    missing = [name for name in ("num_params", "loss") if name not in table]
    if "num_tokens" not in table and "flops" not in table:
        missing.append("num_tokens")
    if missing:
        raise FitError(missing_columns(missing, table, original))
    if "num_tokens" not in table:
        table["num_tokens"] = table["flops"] / (6 * table["num_params"])
        notes.append("num_tokens = flops / (6 · num_params), since no tokens were given")
    if "flops" not in table:
        table["flops"] = 6 * table["num_params"] * table["num_tokens"]
        notes.append("flops = 6 · num_params · num_tokens, since no FLOPs were given")
    ratio = float((table["flops"] / (table["num_params"] * table["num_tokens"])).median())
    for name, other in (("flops", "num_tokens"), ("num_tokens", "flops")):
        _fill(table, name, other, ratio, notes)
    if "unique_tokens" in table and "epochs" not in table:
        table["epochs"] = table["num_tokens"] / table["unique_tokens"]
        notes.append("epochs = num_tokens / unique_tokens, since no epochs were given")


def _fill(table: pd.DataFrame, name: str, other: str, ratio: float, notes: list[str]) -> None:
    """FLOPs or tokens that some runs lack, by the FLOPs per parameter and token of the others (6 where none has
    both)."""
    lacks = table[name].isna() & table[other].notna() & table["num_params"].notna()
    of_others = "as of the others" if ratio > 0 else "since no run has both"
    ratio = ratio if ratio > 0 else 6.0
    if not lacks.any():
        return
    product = table["num_params"] * table["num_tokens"] if name == "flops" else table["flops"] / table["num_params"]
    table[name] = table[name].where(~lacks, product * ratio if name == "flops" else product / ratio)
    notes.append(f"{name} of {int(lacks.sum())} runs derived, at {ratio:.4g} FLOPs per parameter and token {of_others}")


def _check_units(table: pd.DataFrame, confirmed: tuple[str, ...], derived: bool) -> None:
    """Refuse columns that cannot be counts: small ones that no FLOPs confirm, or FLOPs that do not fit."""
    largest = {name: float(table[name].max()) for name in ("num_params", "num_tokens", "flops")}
    N, D, C = (float(table[name].median()) for name in ("num_params", "num_tokens", "flops"))
    ratios = table["flops"] / (table["num_params"] * table["num_tokens"])
    ratio, possible = float(ratios.median()), ratios.between(*POSSIBLE_RATIOS, inclusive="neither")
    given = () if derived else confirmed
    if np.isfinite(ratio) and "flops" not in given and possible.sum() < A_FEW * ratios.notna().sum():
        named = ", ".join(f"{name} goes up to {value:.3g}" for name, value in largest.items())
        raise FitError(
            f"flops is {ratio:.3g} times num_params · num_tokens at the median, where 6 is usual, so one of the three "
            f"is in other units ({named}); {_remedy(N, D, C)}; if they are right, {typed({'flops': 1})}"
        )
    if derived or largest["flops"] < SMALLEST_FLOPS:
        _check_small(table, largest, confirmed, derived)


def _check_small(table: pd.DataFrame, largest: Mapping[str, float], confirmed: tuple[str, ...], derived: bool) -> None:
    small = [x for x in ("num_params", "num_tokens") if x not in confirmed and largest[x] < SMALLEST_PLAUSIBLE]
    if small:
        said = " and ".join(f"{name} goes up to {largest[name]:g} only" for name in small)
        logarithms = all(float(table[name].min()) >= 4 and largest[name] <= 30 for name in small)
        kind = "thousands, millions, billions or a logarithm to base 10" if logarithms else "millions or billions"
        scales: list[float | str] = [1e6, 1e9, *(["log10"] if logarithms else [])]
        N, D, C = (float(table[name].median()) for name in largest)
        fits = [] if derived else explained(N, D, C, confirmed)
        give = " or ".join(typed(units) for units in fits or [dict.fromkeys(small, scale) for scale in scales])
        raise FitError(f"{said}, which looks like {kind}; give {give}; 1 if it is a plain count")


def _remedy(N: float, D: float, C: float) -> str:
    fits = [typed(units) for units in explained(N, D, C)]
    return f"give {' or '.join(fits)}" if fits else f"give for example {typed({'num_params': 1e9})}"
