"""The runs a law is fitted to, as arrays, and the excluded ones with the reason."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from flops_fit.basics.arguments import need
from flops_fit.basics.diagnostic import Diagnostic
from flops_fit.errors import FitError
from flops_fit.scaling_law.table.budgets import grouped_by_flops, with_sensible_budgets
from flops_fit.scaling_law.table.columns import LOSS_UNIT, Table, runs_table
from flops_fit.scaling_law.table.conventions import flops_conventions
from flops_fit.scaling_law.table.histories import earlier_steps
from flops_fit.scaling_law.table.loss_values import loss_doubts
from flops_fit.scaling_law.table.units import outlying_flops, unit_doubts
from flops_fit.tables.losses import NATS, to_be_positive
from flops_fit.tables.named import Units, trunks

FEWEST_RUNS = 8  # named runs below which resampling them would say nothing
NEEDED = ("loss", "num_params", "num_tokens", "flops")
EXTREME = 1e100  # numbers beyond it, or below its inverse, are no measurements
EXTREME_LOSS = 1e15  # likewise: a fit of such would leave the digits of floating point
ROUNDING = 1e-12  # relative: numbers closer than this are one number, computed in two ways or on two machines


@dataclass(frozen=True, kw_only=True)
class ExcludedRun:
    """A row that was not used."""

    row: int
    experiment_id: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class Runs:
    """Usable runs, each array of shape (runs,): parameters, tokens, FLOPs, loss, the IsoFLOP budget's FLOPs (NaN
    where a run belongs to none), weight; `cluster` numbers what is resampled together: repeated seeds of one (N, D),
    checkpoints of one run where a column names it, and runs that branch from one trunk. `loss_unit` is in
    words; empty where it is not known. `doubts` are findings about units, `row`, (runs,), says where each run is in the
    table that was read, and `trunk`, (runs,) or empty, what it branches from, "" where it was trained on its own."""

    num_params: np.ndarray
    num_tokens: np.ndarray
    flops: np.ndarray
    loss: np.ndarray
    budget: np.ndarray
    weight: np.ndarray
    cluster: np.ndarray
    epochs: np.ndarray
    experiment_id: tuple[str, ...]
    excluded: tuple[ExcludedRun, ...] = ()
    notes: tuple[str, ...] = ()
    loss_unit: str = NATS
    doubts: tuple[Diagnostic, ...] = ()
    row: np.ndarray | None = None
    trunk: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.loss)

    @property
    def budgets(self) -> np.ndarray:
        """The distinct IsoFLOP budgets, ascending."""
        return np.unique(self.budget[np.isfinite(self.budget)])

    @property
    def span(self) -> float:
        """The range of the runs' compute, in ln C."""
        return float(np.log(self.flops.max() / self.flops.min()))

    @property
    def configuration(self) -> np.ndarray:
        """A number for each (N, D), shape (runs,)."""
        return _configurations(pd.Series(self.num_params), pd.Series(self.num_tokens))

    @property
    def log_flops_range(self) -> float:
        """Decades of compute that the runs span."""
        return float(np.log10(self.flops.max() / self.flops.min()))

    def subset(self, keep: np.ndarray) -> Runs:
        """The runs where `keep` (bool, (runs,)) holds."""
        arrays = {name: getattr(self, name)[keep] for name in ARRAYS}
        ids = tuple(itertools.compress(self.experiment_id, keep.tolist()))
        return replace(
            self,
            **arrays,
            experiment_id=ids,
            row=None if self.row is None else self.row[keep],
            trunk=tuple(itertools.compress(self.trunk, keep.tolist())),
        )

    def to_frame(self) -> pd.DataFrame:
        """One row per usable run."""
        return pd.DataFrame({"experiment_id": self.experiment_id} | {name: getattr(self, name) for name in ARRAYS})

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values (NaN as null)."""
        columns = {
            name: [None if value != value else value for value in getattr(self, name).tolist()] for name in ARRAYS
        }
        excluded = [[item.row, item.experiment_id, item.reason] for item in self.excluded]
        said = {"excluded": excluded, "notes": list(self.notes), "loss_unit": self.loss_unit}
        of_trunks = {"trunk": list(self.trunk)} if self.trunk else {}
        return {"experiment_id": list(self.experiment_id), **columns, **said, **of_trunks}


ARRAYS = ("num_params", "num_tokens", "flops", "loss", "budget", "weight", "cluster", "epochs")


def read_runs(
    runs: Any,
    *,
    units: Units | None = None,
    loss_unit: str | None = None,
    columns: Mapping[str, str | None] | None = None,
    loss_kind: str | None = None,
    loss_offset: float = 0.0,
) -> Runs:
    """Usable runs from a DataFrame, path or list of results; see `runs_table` for what is accepted.

    Rows without finite positive N, D and loss, not "completed", or repeating another row are excluded with a reason.
    `loss_unit` in words; by default what the column's own name says, else nats per token. Raises `FitError` where
    nothing usable is left.
    """
    need("loss_unit", loss_unit, LOSS_UNIT, FitError)
    read = runs_table(runs, units, columns, loss_kind, loss_offset)
    table, said = with_sensible_budgets(read.frame)
    ids = (
        table["experiment_id"].astype(str) if "experiment_id" in table else pd.Series([f"row {i}" for i in table.index])
    )
    for name in ("num_params", "num_tokens", "compute_budget"):
        if name in table:
            table[name] = without_rounding(table[name].to_numpy(dtype=float))
    reasons = _reasons(table, read.unread)
    excluded = tuple(
        ExcludedRun(row=int(row), experiment_id=ids.iloc[row], reason=reason)
        for row, reason in enumerate(reasons)
        if reason
    )
    keep = np.array([not reason for reason in reasons], dtype=bool)
    if not keep.any():
        raise FitError(_nothing_usable(table, excluded))
    table = _in_order(table.assign(experiment_id=ids, _row=np.arange(len(table)))[keep])
    ids = table["experiment_id"]
    values = {name: table[name].to_numpy(dtype=float) for name in ("num_params", "num_tokens", "flops", "loss")}
    cluster, joined = _clusters(table)
    given = table["compute_budget"].to_numpy(dtype=float) if "compute_budget" in table else grouped_by_flops(table)
    return Runs(
        **values,
        budget=given,
        weight=table["weight"].to_numpy(dtype=float) if "weight" in table else np.ones(len(table)),
        cluster=cluster,
        epochs=table["epochs"].to_numpy(dtype=float) if "epochs" in table else np.full(len(table), np.nan),
        experiment_id=tuple(ids),
        excluded=excluded,
        notes=(*read.notes, *(read.of_unit if loss_unit is None else ()), *joined, *said),
        loss_unit=read.loss_unit if loss_unit is None else loss_unit,
        row=table["_row"].to_numpy(),
        trunk=trunks(table),
        doubts=_doubts(read, values, tuple(ids), loss_unit),
    )


def _doubts(
    read: Table, values: Mapping[str, np.ndarray], names: tuple[str, ...], loss_unit: str | None
) -> tuple[Diagnostic, ...]:
    """What speaks against the units of the columns and the kind of the losses."""
    N, D, C, loss = values.values()
    confirmed = (*read.confirmed, *(["loss"] if loss_unit else []))
    alike = None if read.derived or "flops" in confirmed else flops_conventions(N, D, C, names)
    of_counts = unit_doubts(N, D, C, confirmed=confirmed, derived=read.derived, mixed=alike is not None)
    of_losses = loss_doubts(C, loss, _not_positive(read.frame), confirmed=confirmed, offset=read.loss_offset)
    return (*of_counts, *([alike] if alike else []), *of_losses)


def _not_positive(table: pd.DataFrame) -> np.ndarray:
    """Losses of finished runs that are finite and not above 0."""
    loss = table["loss"].to_numpy(dtype=float)
    done = (table["status"] == "completed").to_numpy() if "status" in table else np.ones(len(table), dtype=bool)
    return loss[done & np.isfinite(loss) & (loss <= 0)]


def _in_order(table: pd.DataFrame) -> pd.DataFrame:
    """Rows by size, tokens, loss and name: resamples, and with them intervals, must not depend on the order given."""
    keys = [*("num_params", "num_tokens", "loss", "experiment_id"), *(name for name in ("seed",) if name in table)]
    names = table.assign(**{name: table[name].astype(str) for name in keys[3:]})
    return table.loc[names.sort_values(keys, kind="stable").index].reset_index(drop=True)


def _nothing_usable(table: pd.DataFrame, excluded: tuple[ExcludedRun, ...]) -> str:
    why = excluded[0].reason if excluded else "the table is empty"
    said = f"none of {len(table)} runs can be used ({why}); a fit needs completed runs with N, D and loss"
    if len(table) and len(refused := _not_positive(table)):
        return f"{said}; {to_be_positive(float(refused.min()))}"
    if why.startswith("status is"):
        return f'{said}; if all of them are complete, give --columns status=none, in Python columns={{"status": None}}'
    named = next((name for name in NEEDED if why.startswith(name)), None)
    return f"{said}; if another column is {named}, give --columns {named}=its name" if named else said


def _clusters(table: pd.DataFrame) -> tuple[np.ndarray, list[str]]:
    """What is resampled together, (rows,): repeated seeds of one (N, D), and checkpoints of one run where a column says
    which they are; with a note about the latter."""
    configuration, what = (
        _configurations(table["num_params"], table["num_tokens"]),
        "trunks" if trunks(table) else "runs",
    )
    if "group" not in table or not table["group"].dropna().duplicated().any():
        return configuration, []
    if table[["group", "num_params"]].drop_duplicates()["group"].dropna().duplicated().any():
        return configuration, ["the column that names runs has runs of several N, so its rows are resampled apart"]
    run = pd.factorize(table["group"])[0]
    run = np.where(run < 0, run.max() + 1 + np.arange(len(run)), run)
    joined = _joined(configuration, run)
    count = int(joined.max()) + 1
    if count < FEWEST_RUNS:
        return configuration, [f"only {count} {what} have names of their own, so their rows are resampled apart"]
    return joined, [f"the {len(joined)} rows are of {count} {what} by their names, each resampled as one"]


def _joined(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Numbers of what hangs together where rows of one `first` or of one `second` do, in order of appearance."""
    own = int(first.max()) + 1
    size = own + int(second.max()) + 1
    links = coo_matrix((np.ones(len(first)), (first, own + second)), shape=(size, size))
    return pd.factorize(connected_components(links, directed=False)[1][first])[0]


def _configurations(num_params: pd.Series, num_tokens: pd.Series) -> np.ndarray:
    """A number for each (N, D), (rows,)."""
    return pd.DataFrame({"N": num_params, "D": num_tokens}).groupby(["N", "D"], sort=False).ngroup().to_numpy()


def without_rounding(values: np.ndarray) -> np.ndarray:
    """`values`, shape (rows,), with those that differ by rounding alone replaced by the lowest of them."""
    order = np.argsort(values)
    ascending = values[order]
    first = np.ones(len(values), dtype=bool)
    with np.errstate(invalid="ignore"):  # infinite values, which are excluded later
        first[1:] = ~((np.diff(ascending) <= ROUNDING * np.abs(ascending[1:])) & np.isfinite(ascending[1:]))
    merged = np.empty_like(values)
    merged[order] = ascending[np.maximum.accumulate(np.where(first, np.arange(len(values)), 0))]
    return merged


def _reasons(table: pd.DataFrame, unread: Mapping[str, Mapping[int, str]]) -> list[str]:
    """Why each row cannot be used; empty where it can."""
    reasons = earlier_steps(table)
    for row in np.flatnonzero(_is_doubtful(table)).tolist():
        reasons[row] = _reason(table.iloc[row], {name: of.get(row, "") for name, of in unread.items()}) or reasons[row]
    identity = [name for name in ("experiment_id", "num_params", "num_tokens", "loss", "seed") if name in table]
    compared = table[identity].assign(loss=without_rounding(table["loss"].to_numpy(dtype=float)))
    for row in np.flatnonzero(compared.duplicated().to_numpy()).tolist():
        reasons[row] = reasons[row] or "repeats another row exactly (same N, D and loss)"
    usable = np.array([not reason for reason in reasons], dtype=bool)
    for row, factor in outlying_flops(table[usable]).items():
        reasons[row] = f"its FLOPs are {factor:.3g} times what the other runs' FLOPs per parameter and token say"
    return reasons


def _is_doubtful(table: pd.DataFrame) -> np.ndarray:
    """Which rows `_reason` may have something against, (rows,) bool; it reads row by row, which takes its time."""
    numbers = table[[name for name in (*NEEDED, "weight") if name in table]].to_numpy(dtype=float)
    doubtful = ~((numbers > 1 / EXTREME) & (numbers < EXTREME)).all(axis=1)
    doubtful |= ~((numbers[:, 0] > 1 / EXTREME_LOSS) & (numbers[:, 0] < EXTREME_LOSS))  # NEEDED begins with the loss
    if "compute_budget" in table:
        budget = table["compute_budget"].to_numpy(dtype=float)
        doubtful |= (budget <= 0) | (budget >= EXTREME)
    if "status" in table:
        doubtful |= (table["status"] != "completed").to_numpy(dtype=bool, na_value=True)
    return np.asarray(doubtful)


def _reason(row: pd.Series, unread: Mapping[str, str]) -> str:
    status = row.get("status", "completed")
    if isinstance(status, str) and status != "completed":
        why = row.get("reason")
        return f"status is {status}" + (f": {why}" if isinstance(why, str) and why else "")
    for name in NEEDED:
        value = row[name]
        if not np.isfinite(value):
            text = unread.get(name, "")
            missing = f"{name} = {text[:40]!r} is no number" if text else f"{name} is missing"
            return missing if np.isnan(value) else f"{name} is infinite"
        if value <= 0:
            return f"{name} = {value:g} is not positive"
    weight = row.get("weight", 1.0)
    if not (np.isfinite(weight) and weight > 0):
        return f"weight = {weight} is not positive"
    return _extreme(row)


def _extreme(row: pd.Series) -> str:
    """What is no number of FLOPs, or so large or small that a fit would leave the range of floating point."""
    for name in (*NEEDED, "weight", "compute_budget"):
        value, most = row.get(name, 1.0), EXTREME_LOSS if name == "loss" else EXTREME
        if not np.isnan(value) and not 1 / most < value < most:
            scale = f"; in another unit it may be: --units loss={1 / value:.0e}" if name == "loss" else ""
            return f"{name} = {value:g} is not between {1 / most:g} and {most:g}{scale}"
    return ""
