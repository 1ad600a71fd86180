"""Which IsoFLOP budget each run belongs to: by a column, as far as it makes sense, else by the runs' own FLOPs."""

from __future__ import annotations

import numpy as np
import pandas as pd

from flops_fit.scaling_law.table.units import outlying_flops

BUDGET_WIDTH = 0.4  # without a compute_budget column: the most that ln FLOPs may vary within a budget,
EQUAL_BUDGET = 0.02  # what counts as equal,
MOSTLY = 0.6  # and the share of runs that must fall into budgets for there to be any
NEAR_BUDGET = 0.5  # in ln, that the FLOPs of nearly all runs are from the budget that a column gives them
NEARLY_ALL = 0.8
RUNS_A_BUDGET = 2.0  # fewer on average, and the column says how much each run took rather than its budget


def with_sensible_budgets(table: pd.DataFrame) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """`table` with a column compute_budget that makes sense or none, and what to tell of it.

    A column that is no FLOPs of these runs (an index, a logarithm, names, another unit), or has nearly as many values
    as there are runs, is put aside; where it is missing for some runs, they are of the budget that their FLOPs equal.
    """
    if "compute_budget" not in table:
        return table, ()
    given, flops = (table[name].to_numpy(dtype=float) for name in ("compute_budget", "flops"))
    with np.errstate(divide="ignore", invalid="ignore"):
        away = np.abs(np.log(given) - np.log(flops))
    if why := _senseless(given, flops, away):
        said = f"column compute_budget is put aside, and budgets are groups of equal FLOPs: {why}"
        return table.drop(columns="compute_budget"), (said,)
    wrong = ~np.isnan(given) & np.isfinite(flops) & ~(away <= NEAR_BUDGET)
    numbers = table[["num_params", "num_tokens", "flops"]]
    counted = ((numbers > 0) & np.isfinite(numbers)).all(axis=1)
    wrong &= ~table.index.isin(list(outlying_flops(table[counted])))  # there the FLOPs are wrong: left out elsewhere
    filled = _filled(_near_as_one(np.where(wrong, np.nan, given)), flops)
    added = int(np.isfinite(filled).sum() - (np.isfinite(given) & ~wrong).sum())
    told: list[str] = []
    if wrong.any():
        at = int(np.flatnonzero(wrong)[0])
        told.append(
            f"compute_budget of {int(wrong.sum())} runs is put aside, such as {given[at]:.3g} of a run of "
            f"{flops[at]:.3g} FLOPs"
        )
    if added:
        told.append(f"compute_budget of {added} runs is that which their FLOPs are equal to")
    return table.assign(compute_budget=filled), tuple(told)


def _senseless(given: np.ndarray, flops: np.ndarray, away: np.ndarray) -> str:
    """Why `given`, (rows,), is no budget of runs that are `away` from it, in ln FLOPs; empty where it is."""
    there = np.isfinite(given) & np.isfinite(flops)
    if not np.isfinite(given).any():
        return "it has no numbers"
    near = away[there] <= NEAR_BUDGET
    if there.any() and near.mean() < NEARLY_ALL:
        example = int(np.flatnonzero(there)[int(np.argmin(near))])
        return f"it says {given[example]:.6g} of a run of {flops[example]:.3g} FLOPs"
    values = len(np.unique(given[there]))
    if there.sum() < RUNS_A_BUDGET * values and np.ptp(np.log(flops[there])) > BUDGET_WIDTH:
        return f"it has {values} values for {int(there.sum())} runs"
    return ""


def _near_as_one(given: np.ndarray) -> np.ndarray:
    """Budgets that differ by no more than what counts as equal, as the lowest of them; NaN stays NaN."""
    values = np.unique(given[np.isfinite(given) & (given > 0)])
    if len(values) < 2:
        return given
    lowest = values.copy()
    for at in range(1, len(values)):
        if np.log(values[at] / lowest[at - 1]) <= EQUAL_BUDGET:
            lowest[at] = lowest[at - 1]
    known = np.isfinite(given) & (given > 0)
    return np.where(known, lowest[np.searchsorted(values, np.where(known, given, values[0]))], given)


def _filled(given: np.ndarray, flops: np.ndarray) -> np.ndarray:
    """`given`, and where it is NaN the budget that the run's FLOPs are equal to, if there is one."""
    known = np.unique(given[np.isfinite(given) & (given > 0)])
    if not len(known):
        return given
    with np.errstate(divide="ignore", invalid="ignore"):  # FLOPs that are missing or 0
        away = np.abs(np.log(flops[:, None] / known))
    nearest = away.argmin(axis=1)
    equal = away[np.arange(len(flops)), nearest] <= EQUAL_BUDGET
    return np.where(np.isnan(given) & equal, known[nearest], given)


def grouped_by_flops(table: pd.DataFrame) -> np.ndarray:
    """Each run's budget: groups of runs cut apart at gaps in ln FLOPs, (rows,)."""
    flops, N = table["flops"].to_numpy(dtype=float), table["num_params"].to_numpy(dtype=float)
    logs = np.log(flops)
    budget = np.full(len(flops), np.nan)
    for members in _split(logs, np.argsort(logs, kind="stable")):
        sizes = len(np.unique(N[members]))
        same = np.ptp(logs[members]) < EQUAL_BUDGET and sizes >= 3
        if same or (sizes >= 5 and np.ptp(np.log(N[members])) > np.log(2.99)):
            budget[members] = np.median(flops[members])
    return budget if np.isfinite(budget).mean() > MOSTLY else np.full(len(flops), np.nan)


def _split(logs: np.ndarray, members: np.ndarray) -> list[np.ndarray]:
    """Members (sorted by compute) cut at their largest gap until each part is no wider than a budget may be."""
    if np.ptp(logs[members]) <= BUDGET_WIDTH:
        return [members]
    gaps = np.diff(logs[members])
    cut = (
        int(np.argmax(gaps > gaps.max() * (1 - 1e-6))) + 1
    )  # of equal gaps the first, so that last digits do not decide
    return _split(logs, members[:cut]) + _split(logs, members[cut:])
