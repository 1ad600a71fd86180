"""How much repeated data is worth, fitted to runs that repeat it (Muennighoff et al. 2023)."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.optimize import minimize_scalar

from flops_fit.errors import FitError
from flops_fit.scaling_law.answers import effective_tokens
from flops_fit.scaling_law.fitting.parametric import fit_parametric
from flops_fit.scaling_law.table.runs import read_runs

RANGE = (0.2, 200.0)


def fit_repetition(runs: Any) -> float:
    """R* of `effective_tokens` that fits `runs` (anything `fit_scaling_law` takes, with a column epochs) best.

    The law and R* are fitted together: for each R* the law on effective tokens, R* by the lowest objective. Raises
    `FitError` where no run repeats data, since R* then shows in nothing.
    """
    table = read_runs(runs)
    repeats = np.isfinite(table.epochs) & (table.epochs > 1.0 + 1e-9)
    if not repeats.any():
        raise FitError("no run repeats data (column epochs above 1); use the constant of the literature, 15.39")
    unique = np.where(repeats, table.num_tokens / np.where(repeats, table.epochs, 1.0), table.num_tokens)
    fresh = table.subset(~repeats) if (~repeats).sum() >= 8 else table
    delta = fit_parametric(fresh.num_params, fresh.num_tokens, fresh.loss).delta

    def misfit(log_r: float) -> float:
        D = effective_tokens(table.num_tokens, unique, float(np.exp(log_r)))
        return fit_parametric(table.num_params, D, table.loss, weights=table.weight, delta=delta).objective

    grid = np.linspace(np.log(RANGE[0]), np.log(RANGE[1]), 16)
    best = grid[int(np.argmin([misfit(x) for x in grid]))]
    step = float(grid[1] - grid[0])
    found = minimize_scalar(misfit, bounds=(best - step, best + step), method="bounded", options={"xatol": 1e-5})
    return float(np.exp(found.x))
