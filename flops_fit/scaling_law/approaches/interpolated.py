"""Approach 2 with an interpolant instead of a parabola (Porian et al. 2024, arXiv 2406.19146, section 3).

Each budget's losses are interpolated (Akima, ln loss against ln N) many times with noise added; the median of the
minima is the budget's optimum, their spread its uncertainty, and the power law weighs budgets by it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.interpolate import Akima1DInterpolator

from flops_fit.errors import FitError
from flops_fit.scaling_law.approaches.isoflop import PowerLaw, fit_power_law
from flops_fit.scaling_law.table.runs import Runs

POINTS_PER_GAP = 25
MOST_SIZES = 60  # of a budget that are interpolated; of more, so many evenly spread ones
LEAST = 1e-3  # of a loss is left where the noise is as large as it: what is not positive has no logarithm
SPREAD_FLOOR = 0.33  # of the distance between neighbouring sizes: a minimum is not located better than that


@dataclass(frozen=True, kw_only=True)
class InterpolatedMinimum:
    """A budget's optimum: N, the standard deviation of ln N, and the share of noisy curves with an interior minimum."""

    compute_budget: float
    N: float
    log_sd: float
    interior_share: float


def seed_noise(loss: np.ndarray) -> np.ndarray:
    """Standard deviation between seeds in nats (Porian): 0.002 to a loss of 3, 0.05 from 7 on, log-linear between."""
    return np.asarray(np.exp(np.interp(np.log(loss), np.log([3.0, 7.0]), np.log([0.002, 0.05]))))


def interpolated_minima(
    runs: Runs, *, noise: Callable[[np.ndarray], np.ndarray] = seed_noise, draws: int = 400, seed: int = 0
) -> tuple[InterpolatedMinimum, ...]:
    """The optimum of every budget with at least 4 sizes whose minimum is mostly inside the grid, ascending in compute.

    `noise` gives each loss's standard deviation in nats; of several runs of one size the lowest loss counts, and of
    more than 60 sizes every so many.
    """
    generator = np.random.default_rng(seed)
    found = []
    for budget in runs.budgets:
        members = runs.subset(runs.budget == budget)
        sizes, loss = _lowest_by_size(members)
        if len(sizes) < 4:
            continue
        noisy = loss[:, None] + noise(loss)[:, None] * generator.standard_normal((len(loss), draws))
        noisy = np.maximum(noisy, LEAST * loss[:, None])
        log_n = np.linspace(np.log(sizes[0]), np.log(sizes[-1]), (len(sizes) - 1) * POINTS_PER_GAP)
        lowest = Akima1DInterpolator(np.log(sizes), np.log(noisy))(log_n).argmin(axis=0)
        inside = (lowest > 0) & (lowest < len(log_n) - 1)
        if inside.mean() < 0.5:
            continue
        where = log_n[lowest[inside]]
        floor = SPREAD_FLOOR * POINTS_PER_GAP * (log_n[1] - log_n[0])
        share = float(inside.mean())
        found.append(
            InterpolatedMinimum(
                compute_budget=float(budget),
                N=float(np.exp(np.median(where))),
                log_sd=float(max(where.std(), floor)) / share,
                interior_share=share,
            )
        )
    return tuple(found)


def interpolated_power_law(minima: tuple[InterpolatedMinimum, ...]) -> PowerLaw:
    """`N_opt = k·C^a` through the minima, each weighted by its inverse variance; `FitError` with fewer than 2."""
    if len(minima) < 2:
        raise FitError(f"{len(minima)} budgets have a minimum inside their sizes; a power law needs at least 2")
    compute, N, spread = np.array([(m.compute_budget, m.N, m.log_sd) for m in minima]).T
    return fit_power_law(compute, N, weights=1 / spread**2)


def _lowest_by_size(members: Runs) -> tuple[np.ndarray, np.ndarray]:
    sizes, inverse = np.unique(members.num_params, return_inverse=True)
    loss = np.full(len(sizes), np.inf)
    np.minimum.at(loss, inverse, members.loss)
    few = np.unique(np.linspace(0, len(sizes) - 1, min(MOST_SIZES, len(sizes))).astype(int))
    return sizes[few], loss[few]
