"""A table under our own names, in plain numbers: what `flops-fit fit`, `flops-fit import` and Python calls all read."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from flops_fit.basics.arguments import LEFT_OUT, made_of, need, number
from flops_fit.errors import FitError
from flops_fit.tables.headings import PERPLEXITY, SYNONYMS, Heading, heading, likely, plain
from flops_fit.tables.losses import as_losses, check_loss_options
from flops_fit.tables.unit_words import LN, SCALES, factor_of
from flops_fit.tables.values import UNSAID, numbers, statuses

NUMERIC = ("num_params", "num_tokens", "flops", "loss", "compute_budget", "weight", "epochs", "unique_tokens")
OPTIONAL = ("compute_budget", "weight", "epochs", "unique_tokens")
NOT_COUNTED = ("loss", "weight", "epochs")
OF_FLOPS = ("flops", "compute_budget")
OURS = ("num_params", "loss")  # a table that has these names themselves has our names
TRUNK = "trunk"  # what says which rows branch from one training
RUN_COLUMNS = ("group", "run", "runid", "runname")  # what says which rows are checkpoints of one run
NONE = ("", "none")  # `--columns status=none`: no column is that
SEPARATORS = {";": "semicolons", "\t": "tabs", "|": "bars"}  # of files that are called .csv all the same
_CURVE = {"walltime", "step", "value"}  # of TensorBoard
Units = Mapping[str, "float | str"]


@dataclass(frozen=True, kw_only=True)
class NamedTable:
    """Runs under our column names, numbers as floats.

    Attributes:
        notes: what was decided of a column, for who reads the law.
        loss_unit: what the heading or the kind of loss says of it, "" where neither does.
        confirmed: columns whose units were given.
        loss_kind: of the losses, where it was given or read from the heading.
        loss_offset: added to the losses.
        unread: row → text, by column, of cells that are no numbers.
    """

    frame: pd.DataFrame
    notes: tuple[str, ...]
    loss_unit: str
    confirmed: tuple[str, ...]
    loss_kind: str | None
    loss_offset: float
    unread: Mapping[str, Mapping[int, str]]


def named_table(
    table: pd.DataFrame,
    *,
    units: Units | None = None,
    columns: Mapping[str, str | None] | None = None,
    loss_kind: str | None = None,
    loss_offset: float = 0.0,
    apart: Collection[str] = (),
) -> NamedTable:
    """`table` as a `NamedTable`; its other columns stay as they are.

    `units`: factor per column, or "log10" or "ln"; 1 confirms a column. `columns`: our name → the table's, or None for
    none. `loss_kind`, `loss_offset`: what the losses are (`flops_fit.tables.losses.KINDS`) and what is added to them.
    `apart`: columns that are what they are called, whatever ours is called so, such as a study's size parameter. Raises
    `FitError` for columns or units that the table does not have, and for one that is there twice.
    """
    check_loss_options(loss_kind, loss_offset)
    table = _with_headings(table)
    _check_separator(table)
    _check_names(table, TRUNK)
    asked = _checked_columns(columns, table)
    chosen, others = _chosen(table, asked, apart)
    table, notes = _renamed(_with_group(table), chosen), _told(chosen, others, asked)
    for column in ("group", "seed"):
        _check_names(table, column)
    given = _checked_units(units, table)
    unread = {}
    for name in NUMERIC:
        if name in table:
            written = table[name]
            notes += _to_numbers(table, name, given.get(name), chosen.get(name, ("", None))[1])
            unread[name] = _unread(written, table[name])
    if "status" in table:
        table["status"] = statuses(table["status"])
    table, notes = _without_empty(table, notes)
    read = chosen.get("loss", ("", None))[1]
    if loss_kind is None and read is not None and read.unit == PERPLEXITY:
        loss_kind = "perplexity"
    unit = read.unit if read is not None and read.unit != PERPLEXITY else ""
    if "loss" in table:
        losses, of_kind, said = as_losses(table["loss"].to_numpy(dtype=float), loss_kind, loss_offset)
        table["loss"], unit, notes = losses, of_kind or unit, [*notes, *said]
    return NamedTable(frame=table, notes=tuple(notes), loss_unit=unit, confirmed=tuple(given), loss_kind=loss_kind,
                      loss_offset=loss_offset, unread=unread)  # fmt: skip


def missing_columns(names: list[str], table: pd.DataFrame, original: pd.DataFrame) -> str:
    """What to say of a table without columns `names`: what it has, and what to type if one of those is it."""
    found = [str(column) for column in original.columns]
    if {plain(column) for column in found} >= _CURVE:
        of_run = "give a table with one row for each run, with its num_params, num_tokens and loss"
        return f"the columns are one run's curve (Wall time, Step, Value); {of_run}"
    said = f"the runs have no column {', '.join(names)} (found: {', '.join(found)})"
    taken = set(SYNONYMS) & {str(column) for column in table.columns}
    may_be = [f"{name}={column}" for name in names for column in likely(name, found) if column not in taken]
    remedy = "; needed are num_params, loss and num_tokens or flops"
    kind = " --loss-kind accuracy" if any("acc" in plain(one.partition("=")[2]) for one in may_be) else ""
    some = f"; if so, give --columns {','.join(may_be)}{kind}"
    return said + remedy + (some if may_be else f"; which is which is said with --columns {names[0]}=its name")


def _with_headings(table: pd.DataFrame) -> pd.DataFrame:
    """A copy whose headings are text, with what is in the index under a name of ours as a column."""
    named = [name for name in table.index.names if name is not None and heading(name) is not None]
    table = table.reset_index(level=[name for name in named if name not in table.columns]) if named else table
    table = table.reset_index(drop=True).copy()
    table.columns = ["/".join(map(str, name)) if isinstance(name, tuple) else str(name) for name in table.columns]
    return table


def _check_separator(table: pd.DataFrame) -> None:
    """Refuse a file whose columns were not told apart, since no commas are between them."""
    header = str(table.columns[0]) if len(table.columns) == 1 else ""
    for separator, words in SEPARATORS.items():
        if separator in header:
            raise FitError(
                f"the columns are separated by {words} ({header!r}), where commas are needed; save the table with "
                f"commas, or give pandas.read_csv(path, sep={separator!r}), with decimal=',' if that is in its numbers"
            )


def _checked_columns(columns: Mapping[str, str | None] | None, table: pd.DataFrame) -> dict[str, str]:
    """Our name → the table's, "" for none."""
    need("columns", columns, LEFT_OUT | made_of(Mapping, 'a column by name, such as {"loss": "val_loss"}'), FitError)
    asked = {name: "" if own is None or str(own).lower() in NONE else str(own) for name, own in (columns or {}).items()}
    for name, own in asked.items():
        if name not in SYNONYMS:
            raise FitError(f"columns names {name!r}, which no run has; give some of {', '.join(SYNONYMS)}")
        if own and own not in table.columns:
            raise FitError(f"columns has {name} = {own!r}, which is none of {', '.join(map(str, table.columns))}")
    return asked


def _chosen(
    table: pd.DataFrame, asked: Mapping[str, str], apart: Collection[str]
) -> tuple[dict[str, tuple[str, Heading | None]], dict[str, list[str]]]:
    """Our name → its column and what the heading says, and the other columns that it could have been.

    As `asked`; else the column that has our name (`loss` only where others have ours too, since many call the loss
    on training data so, beside a `val_loss`); else the one whose heading ranks first, whatever the order of columns.
    """
    found: dict[str, list[tuple[tuple[int, ...], str, Heading | None]]] = {}
    own_names = set(OURS) <= set(table.columns)
    for column in dict.fromkeys(table.columns):
        says = heading(column)
        if says is not None and column not in asked.values() and (column not in apart or column == says.name):
            ours = column == says.name and (says.name != "loss" or own_names)
            found.setdefault(says.name, []).append(((-1,) if ours else says.rank, column, says))
    chosen: dict[str, tuple[str, Heading | None]] = {}
    others: dict[str, list[str]] = {}
    for name in SYNONYMS:
        ranked = sorted(found.get(name, []), key=lambda each: (each[0], each[1]))
        if name in asked:
            chosen |= {name: (asked[name], heading(asked[name]))} if asked[name] else {}
        elif ranked:
            chosen[name] = ranked[0][1:]
            others[name] = [column for _, column, says in ranked[1:] if says is None or says.unit != PERPLEXITY]
    if "num_params" not in chosen and "num_params" not in asked and (model := _sizes_by_name(table)):
        chosen["num_params"] = (model, None)
    return chosen, others


def _sizes_by_name(table: pd.DataFrame) -> str | None:
    """A column of names such as 350M and 1.3B, all of them sizes."""
    for column in table.columns:
        if plain(column) in ("model", "modelname", "size") and not pd.api.types.is_numeric_dtype(table[column]):
            read, otherwise = numbers(table[column], counts=True)
            if otherwise and read.notna().all() and (read > 1e3).all():
                return str(column)
    return None


def trunks(table: pd.DataFrame) -> tuple[str, ...]:
    """The trunk that each row branches from, "" for none; empty where no row says one."""
    names = tuple("" if pd.isna(name) else str(name) for name in table.get(TRUNK, ()))
    return names if any(names) else ()


def _with_group(table: pd.DataFrame) -> pd.DataFrame:
    """With a column `group`, a copy of that which names trunks or else of the first that names runs, if any does."""
    if "group" not in table and any(names := trunks(table)):
        return table.assign(group=pd.Series(names, index=table.index).replace("", None))
    named = [column for column in table.columns if plain(column) in RUN_COLUMNS]
    return table.assign(group=table[named[0]]) if named and "group" not in table else table


def _renamed(table: pd.DataFrame, chosen: Mapping[str, tuple[str, Heading | None]]) -> pd.DataFrame:
    """The table with the chosen columns under our names; raises `FitError` for one that is there twice."""
    own = {column: name for name, (column, _) in chosen.items()}
    hidden = [name for name in SYNONYMS if name in table.columns and own.get(name) != name and name not in own]
    kept = table.drop(columns=hidden)
    repeated = sorted({str(column) for column in kept.columns[kept.columns.duplicated()]})
    if repeated:
        raise FitError(f"the runs have more than one column {', '.join(repeated)}; keep one")
    return kept.rename(columns=own)


def _told(
    chosen: Mapping[str, tuple[str, Heading | None]], others: Mapping[str, list[str]], asked: Mapping[str, str]
) -> list[str]:
    """Which columns were taken under which name, and what else might have been."""
    read = [f"{name} from {column!r}" for name, (column, _) in chosen.items() if column != name]
    notes = [f"columns are read as {', '.join(read)}"] if read else []
    for name in ("num_params", "num_tokens", "flops", "loss"):
        if name in chosen and others.get(name):
            other = others[name][0]
            are = "losses are those" if name == "loss" else f"{name} is that"
            notes.append(
                f"{are} of column {chosen[name][0]!r}; for {'those' if name == 'loss' else 'that'} of {other!r}: "
                f'--columns {name}={other}, in Python columns={{"{name}": "{other}"}}'
            )
    return notes + [f"no column is {name}, as asked" for name, own in asked.items() if not own]


def _check_names(table: pd.DataFrame, column: str) -> None:
    """Refuse a column of names that has lists and such, which cannot be compared."""
    for row, value in enumerate(table.get(column, ())):
        if not isinstance(value, Hashable):
            raise FitError(f"{column} = {value!r} in row {row} cannot be a name; give text or whole numbers")


def _checked_units(units: Units | None, table: pd.DataFrame) -> dict[str, float | str]:
    """Factor, "log10" or "ln" by column; a factor may be a word such as `millions`."""
    need("units", units, LEFT_OUT | made_of(Mapping, 'a factor by column, such as {"num_params": 1e9}'), FitError)
    read: dict[str, float | str] = {}
    for column, said in (units or {}).items():
        if column not in table:
            raise FitError(f"units name {column!r}, which the runs do not have; they have {sorted(table.columns)}")
        if column not in NUMERIC:
            raise FitError(f"units name {column!r}, which is no number; give some of {', '.join(NUMERIC)}")
        word = factor_of(said, flops=column in OF_FLOPS) if isinstance(said, str) and said not in SCALES else said
        if not isinstance(word, str):
            need(f"units of {column!r}", said if word is None else word, number(above=0), FitError)
        read[column] = word if word is not None else 1.0
    return read


def _to_numbers(table: pd.DataFrame, name: str, given: float | str | None, says: Heading | None) -> list[str]:
    """Numbers of a column in place, as its cells, its heading and the units that were given say; what to tell."""
    table[name], otherwise = numbers(table[name], counts=name not in NOT_COUNTED, flops=name in OF_FLOPS)
    notes = [f"{name} read from text such as 1.3B, 1,234 or 3,27"] if otherwise else []
    scale = given if isinstance(given, str) else says.scale if says is not None and given is None else ""
    factor = given if isinstance(given, float | int) else says.factor if says is not None and given is None else 1.0
    if scale:
        with np.errstate(over="ignore"):
            table[name] = (np.e if scale == LN else 10.0) ** table[name]
        why = "as given in units" if given is not None else "as its heading says"
        return [*notes, f"{name} is {'e' if scale == LN else '10'} to the power of its column, {why}"]
    if factor != 1:
        table[name] *= factor
        why = "as given in units" if given is not None else "as its heading says"
        notes.append(f"{name} multiplied by {factor:g}, {why}")
    return notes


def _unread(written: pd.Series, read: pd.Series) -> dict[int, str]:
    """Row → the text of cells of which no number could be made, and that are not empty."""
    rows = np.flatnonzero(read.isna().to_numpy() & written.notna().to_numpy())
    cells = {int(row): str(written.iloc[row]).strip() for row in rows}
    return {row: text for row, text in cells.items() if text.lower() not in UNSAID}


def _without_empty(table: pd.DataFrame, notes: list[str]) -> tuple[pd.DataFrame, list[str]]:
    """Without optional columns that hold no number, with 1 for weights that are not given; and what to tell of it."""
    empty = [name for name in OPTIONAL[1:] if name in table and not (table[name] > 0).any()]
    told = [f"column {name} is put aside, since it has no numbers above 0" for name in empty if len(table)]
    table = table.drop(columns=empty)
    if "weight" in table and table["weight"].isna().any():
        told.append(f"weight of {int(table['weight'].isna().sum())} runs is not given; it is 1")
        table = table.assign(weight=table["weight"].fillna(1.0))
    return table, [*notes, *told]
