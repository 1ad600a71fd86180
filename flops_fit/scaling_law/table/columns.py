"""Read a DataFrame, a file or results into the runs table's own column names and units."""

from __future__ import annotations

import os
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from flops_fit.basics.arguments import LEFT_OUT, Rule, made_of, need, number
from flops_fit.errors import FitError
from flops_fit.scaling_law.table.units import explaining, typed
from flops_fit.scaling_law.table.values import numbers, statuses

SYNONYMS: dict[str, tuple[str, ...]] = {
    "num_params": ("n", "params", "nparams", "parameters", "numparameters", "modelsize", "nonembeddingparams"),
    "num_tokens": (
        "tokenstrained",
        "d",
        "tokens",
        "ntokens",
        "traintokens",
        "trainingtokens",
        "numtraintokens",
        "tokensseen",
    ),
    "flops": ("c", "compute", "flop", "trainflops", "trainingflops", "totalflops"),
    "loss": (
        *("l", "finalloss", "valloss", "evalloss", "validationloss", "testloss", "heldoutloss"),
        *("bpb", "valbpb", "testbpb", "bitsperbyte", "valbitsperbyte", "bitspertoken", "valbitspertoken"),
    ),
    "compute_budget": ("flopsbudget", "budget", "isoflop", "isoflopbudget", "targetflops"),
    "experiment_id": ("id", "runid", "runname", "run", "name"),
    "status": ("state", "runstate"),
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
TRUNK = "trunk"  # what says which rows branch from one training
RUN_COLUMNS = ("group", "run", "runid", "runname")  # what says which rows are checkpoints of one run
NUMERIC = ("num_params", "num_tokens", "flops", "loss", "compute_budget", "weight", "epochs", "unique_tokens")
SEPARATORS = {";": "semicolons", "\t": "tabs", "|": "bars"}  # of files that are called .csv all the same
SMALLEST_PLAUSIBLE = 1000.0  # a study whose largest model or longest run is below this is probably in other units,
BUDGET_NEAR = 3.0  # factor between a budget and 6·N·D
SMALLEST_FLOPS = 1e5  # unless FLOPs that are no smaller than this fit to them


@dataclass(frozen=True, kw_only=True)
class Table:
    """Runs under our column names, numbers as floats: what was renamed, scaled or derived is in `notes`.

    `loss_unit` is what the column's own name says, else nats per token; `confirmed` are the columns whose units were
    given; `derived`: FLOPs or tokens follow from the others.
    """

    frame: pd.DataFrame
    notes: tuple[str, ...]
    loss_unit: str
    confirmed: tuple[str, ...]
    derived: bool


def runs_table(runs: Any, units: Mapping[str, float] | None = None, columns: Mapping[str, str] | None = None) -> Table:
    """A copy of `runs` as a `Table`.

    `runs`: a DataFrame, a path (a file or a directory of results), or a list of results or mappings.
    `units`: factor per column, such as `{"num_params": 1e9}` for a column in billions; 1 confirms a column.
    `columns`: our name → the table's, such as `{"loss": "val_loss"}`, where names do not say it.
    Raises `FitError` for missing columns and for columns in implausible units.
    """
    table = _read(runs)
    _check_separator(table)
    _check_names(table, TRUNK)
    table, renamed = _rename(_with_group(table), _checked_columns(columns, table))
    notes = [f"column {old!r} read as {new}" for old, new in renamed.items()] + _other_losses(table, renamed)
    repeated = sorted({str(column) for column in table.columns[table.columns.duplicated()]})
    if repeated:
        raise FitError(f"the runs have more than one column {', '.join(repeated)}; keep one")
    for column in ("group", "seed"):
        _check_names(table, column)
    for column in NUMERIC:
        if column in table:
            table[column], otherwise = numbers(table[column], counts=column not in ("loss", "weight", "epochs"))
            notes += [f"{column} read from text such as 1.3B, 1,234 or 3,27"] if otherwise else []
    if "status" in table:
        table["status"] = statuses(table["status"])
    units = _checked_units(units)
    for column, factor in units.items():
        if column not in table:
            raise FitError(f"units name {column!r}, which the runs do not have; they have {sorted(table.columns)}")
        if column not in NUMERIC:
            raise FitError(f"units name {column!r}, which is no number; give some of {', '.join(NUMERIC)}")
        if factor != 1:
            table[column] *= factor
            notes.append(f"{column} multiplied by {factor:g}, as given in units")
    _take_budget_for_flops(table, notes)
    derived = not {"flops", "num_tokens"} <= set(table.columns)
    _derive_missing(table, notes)
    _check_units(table, units, derived)
    return Table(
        frame=table,
        notes=tuple(notes),
        loss_unit=_loss_unit(renamed),
        confirmed=tuple(units),
        derived=derived,
    )


def _checked_columns(columns: Mapping[str, str] | None, table: pd.DataFrame) -> dict[str, str]:
    need("columns", columns, LEFT_OUT | made_of(Mapping, 'a column by name, such as {"loss": "val_loss"}'), FitError)
    for name, own in (columns or {}).items():
        if name not in SYNONYMS:
            raise FitError(f"columns names {name!r}, which no run has; give some of {', '.join(SYNONYMS)}")
        if own not in table.columns:
            raise FitError(f"columns has {name} = {own!r}, which is none of {', '.join(map(str, table.columns))}")
    return dict(columns or {})


def _other_losses(table: pd.DataFrame, renamed: Mapping[Any, str]) -> list[str]:
    """What to say where more than one column may be the loss."""
    others = [column for column in table.columns if _plain(column) in SYNONYMS["loss"] and column != "loss"]
    if not others:
        return []
    taken = next((repr(old) for old, new in renamed.items() if new == "loss"), "'loss'")
    other = others[0]
    return [f"losses are those of column {taken}; for those of {other!r}: --columns loss={other}, "
            f'in Python columns={{"loss": "{other}"}}']  # fmt: skip


def _take_budget_for_flops(table: pd.DataFrame, notes: list[str]) -> None:
    """Without FLOPs, a budget that is near 6·N·D is what each run took."""
    if "flops" in table or not {"compute_budget", "num_params", "num_tokens"} <= set(table.columns):
        return
    ratio = (table["compute_budget"] / (6 * table["num_params"] * table["num_tokens"])).median()
    if 1 / BUDGET_NEAR <= ratio <= BUDGET_NEAR:
        table["flops"] = table["compute_budget"]
        notes.append("flops = compute_budget, since no FLOPs were given")


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


def trunks(table: pd.DataFrame) -> tuple[str, ...]:
    """The trunk that each row branches from, "" for none; empty where no row says one."""
    names = tuple("" if pd.isna(name) else str(name) for name in table.get(TRUNK, ()))
    return names if any(names) else ()


def _check_names(table: pd.DataFrame, column: str) -> None:
    """Refuse a column of names that has lists and such, which cannot be compared."""
    for row, value in enumerate(table.get(column, ())):
        if not isinstance(value, Hashable):
            raise FitError(f"{column} = {value!r} in row {row} cannot be a name; give text or whole numbers")


def _with_group(table: pd.DataFrame) -> pd.DataFrame:
    """With a column `group`, a copy of that which names trunks or else of the first that names runs, if any does."""
    if "group" not in table and any(names := trunks(table)):
        return table.assign(group=pd.Series(names, index=table.index).replace("", None))
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


def _rename(table: pd.DataFrame, asked: Mapping[str, str]) -> tuple[pd.DataFrame, dict[Any, str]]:
    """Our names for the columns: as `asked`, then those that have them, then the first that has a synonym."""
    table = table.drop(columns=[name for name in asked if name in table and name not in asked.values()])
    renames: dict[Any, str] = {own: name for name, own in asked.items()}
    known = {synonym: name for name, synonyms in SYNONYMS.items() for synonym in synonyms}
    for column in [column for column in table.columns if column not in renames]:
        plain = _plain(column)
        name = known.get(plain) or next((own for own in SYNONYMS if own.replace("_", "") == plain), None)
        if name and name not in renames.values() and (column == name or name not in table.columns):
            renames[column] = name
    changed = {old: new for old, new in renames.items() if old != new}
    return table.rename(columns=changed), changed


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
    for name, other in (("flops", "num_tokens"), ("num_tokens", "flops")):
        _fill(table, name, other, notes)
    if "unique_tokens" in table and "epochs" not in table:
        table["epochs"] = table["num_tokens"] / table["unique_tokens"]
        notes.append("epochs = num_tokens / unique_tokens, since no epochs were given")


def _fill(table: pd.DataFrame, name: str, other: str, notes: list[str]) -> None:
    """FLOPs or tokens that some runs lack, by the FLOPs per parameter and token of the others."""
    lacks = table[name].isna() & table[other].notna() & table["num_params"].notna()
    ratio = float((table["flops"] / (table["num_params"] * table["num_tokens"])).median())
    if not lacks.any() or not ratio > 0:
        return
    product = table["num_params"] * table["num_tokens"] if name == "flops" else table["flops"] / table["num_params"]
    table[name] = table[name].where(~lacks, product * ratio if name == "flops" else product / ratio)
    notes.append(
        f"{name} of {int(lacks.sum())} runs derived, at {ratio:.4g} FLOPs per parameter and token as of the others"
    )


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
            f"is in other units ({named}); {_remedy(table)}, or {typed({'flops': 1})} if they are right"
        )


def _remedy(table: pd.DataFrame) -> str:
    N, D, C = (float(table[name].median()) for name in ("num_params", "num_tokens", "flops"))
    if C < 40 and 1 <= 10**C / N / D <= 60:
        return "flops look like their logarithms to base 10: give the FLOPs themselves, 10**flops"
    fits = [typed(units) for units in explaining(N, D, C)]
    return f"give {' or '.join(fits)}" if fits else f"give for example {typed({'num_params': 1e9})}"
