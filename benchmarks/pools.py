"""Pools of real runs to choose from: a public table without its largest budgets, which judge the law of what is chosen.

A policy sees N, D and FLOPs of all, and the losses of what it has picked. The law is the default fit's, and its error
is that on the runs near the valley of what is held out (holdouts.py).
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
from holdouts import FAMILIES, HoldOut, hold_outs
from tables import farseer, public_tables

from flops_fit import ScalingLaw, fit_scaling_law
from flops_fit.errors import FitError
from flops_fit.scaling_law.checks.holdout import compute_groups
from flops_fit.scaling_law.table.runs import read_runs

# tables that hold the runs of another one once more: without or with its outliers, or read off the same figure
TWICE = ("epoch 240", "kyo", "llama 3, all rows", "misfitting, all rows")
FEWEST_BUDGETS = 5  # that the pool has, or groups a factor 3 wide
DRAWS = 2  # resamples: no policy reads intervals


@dataclass(frozen=True, kw_only=True, eq=False)
class Pool:
    """What may be picked, a row each with a number as its index, and what judges it; `target` is its compute."""

    name: str
    family: str
    runs: pd.DataFrame
    judge: HoldOut

    @property
    def flops(self) -> np.ndarray:
        """The cost of each run, (runs,)."""
        return self.runs["flops"].to_numpy(dtype=float)

    @property
    def total(self) -> float:
        """FLOPs of all runs."""
        return float(self.flops.sum())

    @property
    def target(self) -> float:
        """The largest compute held out."""
        held = [minimum.C for minimum in self.judge.minima]
        return max(held, default=float(self.flops.max() * np.exp(self.judge.distance)))

    def law(self, picked: list[int], *, draws: int = 1) -> ScalingLaw | None:
        """The default law of what was picked; None where it is too little."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                return fit_scaling_law(self.runs.iloc[picked], bootstraps=draws)
            except FitError:
                return None


Policy = Callable[[Pool, float, int], list[int]]  # pool, FLOPs that may be spent, seed -> what is picked


def pools(most: int = 2) -> Iterator[Pool]:
    """The pools of the public tables with at least 5 budgets left, with up to `most` largest budgets held out; of
    tables with the same runs one."""
    for name, table in (public_tables() | {"farseer": farseer()}).items():
        if name.startswith(TWICE):
            continue
        for held in hold_outs(name, table, most):
            if held.family in FAMILIES and len(np.unique(compute_groups(read_runs(held.train)))) >= FEWEST_BUDGETS:
                yield Pool(name=f"{name}, {held.groups} out", family=held.family, runs=held.train, judge=held)
