"""Leave the largest budget out: fit on the rest, predict it, and see how far off the law is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from flops_fit.scaling_law.fitting.parametric import ParametricFit
from flops_fit.scaling_law.flops_per_token import FlopsPerToken, optimal_params
from flops_fit.scaling_law.quantities import law_loss
from flops_fit.scaling_law.table.runs import Runs

NEAR = np.log(4.001)  # runs within a factor 4 in N of the optimum are the ones a prediction is for
MIN_HELD_OUT = 5


@dataclass(frozen=True, kw_only=True)
class Holdout:
    """Error at the largest compute of a law fitted to the rest.

    Attributes:
        flops: the smallest compute held out.
        runs: runs held out near the valley, which the errors are over.
        error: root mean square of `ln L_pred - ln L`.
        bias: its mean.
        sigma: robust standard deviation of the residuals that the law was fitted with.
        N_ratio: N_opt at the held-out compute, without over with the held-out runs.
    """

    flops: float
    runs: int
    error: float
    bias: float
    sigma: float
    N_ratio: float


def compute_groups(runs: Runs) -> np.ndarray:
    """A number per run, shape (runs,), that grows with compute: its budget (runs between two belong to the lower), or
    bins a factor 3 wide from the top where there are no budgets."""
    if len(runs.budgets) >= 2:
        below = np.searchsorted(runs.budgets, runs.flops * 1.001, side="right") - 1
        return np.where(np.isfinite(runs.budget), runs.budget, runs.budgets[np.maximum(below, 0)])
    bins = np.floor(np.log(runs.flops.max() / runs.flops) / np.log(2.99)).astype(int)
    while (bins == 0).sum() < MIN_HELD_OUT and bins.max() > 0:
        bins = np.maximum(bins - 1, 0)
    return -bins.astype(float)


def hold_out(
    runs: Runs,
    full: ParametricFit,
    flops_per_token: FlopsPerToken,
    fit: Callable[[Runs], ParametricFit],
    *,
    groups: int = 1,
) -> Holdout | None:
    """Hold out the `groups` largest budgets; None with fewer than 3 budgets, or too few runs left or held out.

    `fit` fits a law to a part of the runs; `full` (fitted to all) says which held-out runs are near the valley.
    """
    group = compute_groups(runs)
    levels = np.unique(group)
    if len(levels) < groups + 2:
        return None
    held = group >= levels[-groups]
    distance = np.log(runs.num_params / optimal_params(full.parameters, runs.flops, flops_per_token))
    near = held & (np.abs(distance) <= NEAR)
    if (~held).sum() < 8 or near.sum() < 2:
        return None
    trained = fit(runs.subset(~held))
    error = np.log(law_loss(trained.parameters, runs.num_params[near], runs.num_tokens[near]) / runs.loss[near])
    compute = float(np.median(runs.flops[held]))
    without, all_runs = (optimal_params(one.parameters, compute, flops_per_token) for one in (trained, full))
    return Holdout(
        flops=float(runs.flops[held].min()),
        runs=int(near.sum()),
        error=float(np.sqrt(np.mean(error**2))),
        bias=float(error.mean()),
        sigma=trained.sigma,
        N_ratio=float(without / all_runs),
    )
