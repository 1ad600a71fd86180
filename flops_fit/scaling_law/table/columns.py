"""Read a DataFrame, a file or results into the runs table's own column names and units."""

from __future__ import annotations

import os
from collections.abc import Hashable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from flops_fit.basics.arguments import LEFT_OUT, Rule, made_of, need, number
from flops_fit.errors import FitError

SYNONYMS: dict[str, tuple[str, ...]] = {
    "num_params": ("n", "params", "nparams", "parameters", "numparameters", "modelsize", "nonembeddingparams"),
    "num_tokens": ("d", "tokens", "ntokens", "traintokens", "trainingtokens", "numtraintokens", "tokensseen"),
    "flops": ("c", "compute", "flop", "trainflops", "trainingflops", "totalflops"),
    "loss": (
        *("l", "finalloss", "valloss", "evalloss", "validationloss", "testloss", "heldoutloss"),
        *("bpb", "valbpb", "testbpb", "bitsperbyte", "valbitsperbyte", "bitspertoken", "valbitspertoken"),
    ),
    "compute_budget": ("budget", "isoflop", "isoflopbudget", "targetflops"),
    "experiment_id": ("id", "runid", "runname", "run", "name"),
    "status": ("state",),
    "reason": (),
    "seed": ("randomseed",),
    "weight": ("weights",),
    "epochs": ("numepochs",),
    "unique_tokens": ("uniquetokens", "numuniquetokens"),
}
NATS = "nats per token"
LOSS_UNIT = LEFT_OUT | Rule(
    lambda unit: isinstance(unit, str) and len(unit) <= 40 and unit.isprintable(), 'words such as "bits per byte"'
)
LOSS_UNITS = {"bpb": "bits per byte", "bitsperbyte": "bits per byte", "bitspertoken": "bits per token"}
RUN_COLUMNS = ("group", "run", "runid", "runname")  # what says which rows are checkpoints of one run
NUMERIC = ("num_params", "num_tokens", "flops", "loss", "compute_budget", "weight", "epochs", "unique_tokens")
SEPARATORS = {";": "semicolons", "\t": "tabs", "|": "bars"}  # of files that are called .csv all the same
SMALLEST_PLAUSIBLE = 1000.0  # a study whose largest model or longest run is below this is probably in other units,
SMALLEST_FLOPS = 1e5  # unless FLOPs that are no smaller than this fit to them


def runs_frame(runs: Any, units: Mapping[str, float] | None = None) -> tuple[pd.DataFrame, tuple[str, ...], str]:
    """A copy of `runs` with our column names, numbers as floats; notes on what was renamed, scaled or derived; and the
    unit of the losses that their column's own name says, else nats per token.

    `runs`: a DataFrame, a path (.csv, .json, .jsonl or a directory of results), or a list of results or mappings.
    `units`: factor per column, such as `{"num_params": 1e9}` for a column in billions; 1 confirms a column.
    Raises `FitError` for missing columns and for columns in implausible units.
    """
    table = _read(runs)
    _check_separator(table)
    table, renamed = _rename(_with_group(table))
    notes = [f"column {old!r} read as {new}" for old, new in renamed.items()]
    repeated = sorted({str(column) for column in table.columns[table.columns.duplicated()]})
    if repeated:
        raise FitError(f"the runs have more than one column {', '.join(repeated)}; keep one")
    for column in ("group", "seed"):
        _check_names(table, column)
    for column in NUMERIC:
        if column in table:
            table[column] = pd.to_numeric(table[column], errors="coerce").astype(float)
    units = _checked_units(units)
    for column, factor in units.items():
        if column not in table:
            raise FitError(f"units name {column!r}, which the runs do not have; they have {sorted(table.columns)}")
        if column not in NUMERIC:
            raise FitError(f"units name {column!r}, which is no number; give some of {', '.join(NUMERIC)}")
        if factor != 1:
            table[column] *= factor
            notes.append(f"{column} multiplied by {factor:g}, as given in units")
    derived = not {"flops", "num_tokens"} <= set(table.columns)
    _derive_missing(table, notes)
    _check_units(table, units, derived)
    return table, tuple(notes), _loss_unit(renamed)


def _loss_unit(renamed: Mapping[Any, str]) -> str:
    own = [_plain(old) for old, new in renamed.items() if new == "loss"]
    return next((unit for end, unit in LOSS_UNITS.items() if any(name.endswith(end) for name in own)), NATS)


def _read(runs: Any) -> pd.DataFrame:
    if isinstance(runs, pd.DataFrame):
        return runs.reset_index(drop=True).copy()
    if isinstance(runs, str | os.PathLike):
        from flops_fit.results.results import load_runs

        return load_runs(Path(runs))
    if isinstance(runs, Mapping):
        return pd.DataFrame(dict(runs))
    if isinstance(runs, Iterable):
        return pd.DataFrame([_row(item) for item in runs])
    raise FitError(f"runs = {type(runs).__name__} is not a DataFrame, path or list of results; give one of these")


def _check_separator(table: pd.DataFrame) -> None:
    """Refuse a file whose columns were not told apart, since no commas are between them."""
    header = str(table.columns[0]) if len(table.columns) == 1 else ""
    for separator, words in SEPARATORS.items():
        if separator in header:
            raise FitError(
                f"the columns are separated by {words} ({header!r}), where commas are needed; save the table with "
                f"commas, or give pandas.read_csv(path, sep={separator!r}), with decimal=',' if that is in its numbers"
            )


def _check_names(table: pd.DataFrame, column: str) -> None:
    """Refuse a column of names that has lists and such, which cannot be compared."""
    for row, value in enumerate(table.get(column, ())):
        if not isinstance(value, Hashable):
            raise FitError(f"{column} = {value!r} in row {row} cannot be a name; give text or whole numbers")


def _with_group(table: pd.DataFrame) -> pd.DataFrame:
    """With a column `group`, a copy of the first that names runs, if any does."""
    named = [column for column in table.columns if _plain(column) in RUN_COLUMNS]
    return table.assign(group=table[named[0]]) if named and "group" not in table else table


def _plain(column: Any) -> str:
    return "".join(character for character in str(column).lower() if character.isalnum())


def _row(item: Any) -> dict[str, Any]:
    if isinstance(item, Mapping):
        return dict(item)
    if hasattr(item, "to_dict"):
        return dict(item.to_dict())
    raise FitError(f"a run of type {type(item).__name__} has no to_dict(); give results, mappings or a DataFrame")


def _rename(table: pd.DataFrame) -> tuple[pd.DataFrame, dict[Any, str]]:
    known = {synonym: name for name, synonyms in SYNONYMS.items() for synonym in synonyms}
    renames: dict[Any, str] = {}
    for column in table.columns:
        plain = _plain(column)
        name = known.get(plain) or next((own for own in SYNONYMS if own.replace("_", "") == plain), None)
        if name and name not in table.columns and name not in renames.values():
            renames[column] = name
    return table.rename(columns=renames), renames


def _checked_units(units: Mapping[str, float] | None) -> dict[str, float]:
    need("units", units, LEFT_OUT | made_of(Mapping, 'a factor by column, such as {"num_params": 1e9}'), FitError)
    for column, factor in (units or {}).items():
        need(f"units of {column!r}", factor, number(above=0), FitError)
    return dict(units or {})


def _derive_missing(table: pd.DataFrame, notes: list[str]) -> None:
    missing = [name for name in ("num_params", "loss") if name not in table]
    if "num_tokens" not in table and "flops" not in table:
        missing.append("num_tokens")
    if missing:
        raise FitError(
            f"the runs have no column {', '.join(missing)} (found: {', '.join(map(str, table.columns))}); "
            "needed are num_params, loss and num_tokens or flops"
        )
    if "num_tokens" not in table:
        table["num_tokens"] = table["flops"] / (6 * table["num_params"])
        notes.append("num_tokens = flops / (6 · num_params), since no tokens were given")
    if "flops" not in table:
        table["flops"] = 6 * table["num_params"] * table["num_tokens"]
        notes.append("flops = 6 · num_params · num_tokens, since no FLOPs were given")
    if "unique_tokens" in table and "epochs" not in table:
        table["epochs"] = table["num_tokens"] / table["unique_tokens"]
        notes.append("epochs = num_tokens / unique_tokens, since no epochs were given")


def _check_units(table: pd.DataFrame, units: Mapping[str, float], derived: bool) -> None:
    """Refuse columns that cannot be counts: small ones that no FLOPs confirm, or FLOPs that do not fit."""
    largest = {name: float(table[name].max()) for name in ("num_params", "num_tokens", "flops")}
    if derived or largest["flops"] < SMALLEST_FLOPS:
        for column in ("num_params", "num_tokens"):
            if column not in units and largest[column] < SMALLEST_PLAUSIBLE:
                raise FitError(
                    f"{column} goes up to {largest[column]:g} only, which looks like millions or billions; give "
                    f'units={{"{column}": 1e9}} (or 1 if it is a plain count)'
                )
    ratio = float((table["flops"] / (table["num_params"] * table["num_tokens"])).median())
    if np.isfinite(ratio) and "flops" not in units and not 1e-3 < ratio < 1e7:
        named = ", ".join(f"{name} goes up to {value:.3g}" for name, value in largest.items())
        raise FitError(
            f"flops is {ratio:.3g} times num_params · num_tokens at the median, where 6 is usual, so one of the three "
            f'is in other units ({named}); give for example units={{"num_params": 1e9}} (or "flops": 1 if right)'
        )
