"""Several tables at once, some parameters shared: damped Newton on the sum of their objectives.

Each table's objective is scaled by its delta (1.345 residual standard deviations), so that tables of less noise count
for more; with one delta for all it is the plain sum. Coordinates are each table's own parameters, one table after the
other, then the shared ones; for many resamples at once, as `newton.minimise`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from scipy import special

from flops_fit.scaling_law.fitting.newton import Minimum, Rows, at_zero, descend
from flops_fit.scaling_law.fitting.objective import LARGE, derivatives, objective, sample, to_parameters
from flops_fit.scaling_law.fitting.parametric import ParametricFit, as_fit
from flops_fit.scaling_law.fitting.starts import grid_starts
from flops_fit.scaling_law.fitting.uncertainty import CHUNK, resampled_counts

USUAL = np.array([[0.25, 0.25], [0.35, 0.35], [0.5, 0.5]])  # exponents that a search begins with too
FIRST_DELTA = 1e-2  # a search goes down from here
REFITS, CELLS = 100, 2_000_000  # resamples in large tables: as many as make so many (runs times refits), at least 100


def fit_jointly(fits: Sequence[ParametricFit], shared: np.ndarray) -> list[ParametricFit]:
    """The fits of several tables again, with the parameters `shared` (5,) bool the same in all; each keeps its delta,
    weights and scale."""
    starts = _starts(fits, shared)
    smallest = min(fit.delta for fit in fits)
    for wider in np.geomspace(max(FIRST_DELTA / smallest, 1.0), 1.0, 5):
        found = _minimise(starts, fits, shared, wider=float(wider))
        starts = np.vstack([found.theta, starts[:1]])
    best = int(np.argmin(found.value))
    places = _places(len(fits), shared)
    theta, converged = found.theta[best], bool(found.converged[best])
    return [_own_fit(fit, theta[at], converged) for fit, at in zip(fits, places, strict=True)]


def bootstrap_jointly(
    fits: Sequence[ParametricFit], shared: np.ndarray, clusters: Sequence[np.ndarray], resamples: int, seed: int
) -> tuple[list[np.ndarray], str]:
    """(E, A, B, alpha, beta) of each table, (resamples, 5), refitted together on resampled configurations, each table
    resampled apart; and what a resample is, in words. Large tables have fewer refits, each counted several times."""
    runs = sum(map(len, clusters))
    refits = resamples if runs <= LARGE * len(fits) else min(resamples, max(REFITS, CELLS // runs))
    counts = [resampled_counts(cluster, refits, seed + at) for at, cluster in enumerate(clusters)]
    places, rows = _places(len(fits), shared), max(1, CHUNK // runs)
    start = np.empty((1, int(places[-1].max()) + 1))
    for fit, at in zip(fits, places, strict=True):
        start[0, at] = fit.theta
    draws: list[list[np.ndarray]] = [[] for _ in fits]
    for first in range(0, refits, rows):
        some = [each[first : first + rows] for each in counts]
        starts = np.repeat(start, len(some[0]), axis=0)
        theta = _minimise(starts, fits, shared, counts=some).theta
        for own, fit, at in zip(draws, fits, places, strict=True):
            own.append(to_parameters(at_zero(theta[:, at], fit.data), fit.data))
    words = f"one of {refits} refits of all tables together" if refits < resamples else "a refit of all tables together"
    return [np.resize(np.vstack(own), (resamples, 5)) for own in draws], words


def sharing_chance(apart: Sequence[ParametricFit], together: Sequence[ParametricFit], shared: np.ndarray) -> float:
    """Chance of such a rise of the objectives where the tables do have the same parameters (Huber & Ronchetti 2009,
    section 13: F test)."""
    statistic, freedom = 0.0, 0
    for before, after in zip(apart, together, strict=True):
        clipped = np.clip(before.residual / before.scale, -before.delta, before.delta)
        inside = max(float((np.abs(before.residual) <= before.delta * before.scale).mean()), 0.1)
        left = max(len(clipped) - int(before.data.free.sum()), 1)
        rise = max(after.objective - before.objective, 0.0)
        statistic += 2 * inside * rise / max(float((clipped**2).sum()) / left, 1e-300)
        freedom += left
    constraints = (len(apart) - 1) * int(shared.sum())
    return float(special.fdtrc(constraints, freedom, statistic / constraints))


def _places(tables: int, shared: np.ndarray) -> list[np.ndarray]:
    """Where each table's theta stands among all coordinates, (5,) each."""
    own = int((~shared).sum())
    places = []
    for table in range(tables):
        at = np.empty(5, dtype=int)
        at[~shared] = table * own + np.arange(own)
        at[shared] = tables * own + np.arange(5 - own)
        places.append(at)
    return places


def _minimise(
    starts: np.ndarray,
    fits: Sequence[ParametricFit],
    shared: np.ndarray,
    *,
    wider: float = 1.0,
    counts: Sequence[np.ndarray] | None = None,
) -> Minimum:
    """From every row of `starts`; of each table weighted by `counts` (rows, runs) in a refit from the optimum."""
    places, width = _places(len(fits), shared), starts.shape[1]
    smallest = min(fit.delta for fit in fits)
    weights = [fit.weights * (smallest / (fit.delta * fit.scale)) ** 2 for fit in fits]
    deltas = [wider * fit.delta * fit.scale for fit in fits]
    lower, upper = np.empty(width), np.empty(width)
    for fit, at in zip(fits, places, strict=True):
        lower[at], upper[at] = fit.data.lower, fit.data.upper
    trusted = weights if counts is None else [own * weight for own, weight in zip(counts, weights, strict=True)]

    def evaluate(rows: Rows, theta: np.ndarray, blend: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        value, gradient = np.zeros(len(theta)), np.zeros((len(theta), width))
        hessian = np.zeros((len(theta), width, width))
        for fit, at, weight, delta in zip(fits, places, trusted, deltas, strict=True):
            own = weight[rows] if weight.ndim == 2 else weight
            of_table = derivatives(theta[:, at], fit.data, own, delta, blend)
            value += of_table[0]
            gradient[:, at] += of_table[1]
            hessian[:, at[:, None], at[None, :]] += of_table[2]
        return value, gradient, hessian

    refit = counts is not None
    return descend(
        starts,
        evaluate,
        lower,
        upper,
        max_iterations=60 if refit else 200,
        tolerance=1e-7 if refit else 1e-13,
        first_mix=0.0 if refit else 1.0,
    )


def _starts(fits: Sequence[ParametricFit], shared: np.ndarray) -> np.ndarray:
    """What is shared as each table has it, at their mean, and at usual exponents; the rest by least squares."""
    thetas = np.array([fit.theta for fit in fits])
    usual = np.repeat(thetas.mean(axis=0)[None], len(USUAL), axis=0)
    usual[:, 3:] = USUAL
    candidates = np.vstack([thetas.mean(axis=0), thetas, usual])
    candidates[:, 0] = np.minimum(candidates[:, 0], min(fit.data.log_loss.min() for fit in fits) - 0.02)
    places = _places(len(fits), shared)
    starts = np.empty((len(candidates), int(places[-1].max()) + 1))
    for fit, at in zip(fits, places, strict=True):
        part = sample(fit.data)
        data, weights = fit.data.subset(part), (fit.weights / fit.scale**2)[part]
        for row, candidate in enumerate(candidates):
            value = np.clip(candidate, data.lower, data.upper)
            held = replace(data, lower=np.where(shared, value, data.lower), upper=np.where(shared, value, data.upper))
            starts[row, at] = np.where(shared, value, grid_starts(held, weights, count=1)[0])
    return starts


def _own_fit(fit: ParametricFit, theta: np.ndarray, converged: bool) -> ParametricFit:
    """The table's own part of where all ended."""
    value = objective(theta[None], fit.data, fit.weights / fit.scale**2, fit.delta * fit.scale)
    found = Minimum(theta=theta[None], value=value, converged=np.array([converged]), iterations=0)
    return as_fit(found, 0, fit.data, fit.weights, fit.delta, fit.scale)


def with_shared_held(fit: ParametricFit, shared: np.ndarray) -> ParametricFit:
    """The fit as it is by itself: what is shared is known from the other tables."""
    lower, upper = np.where(shared, fit.theta, fit.data.lower), np.where(shared, fit.theta, fit.data.upper)
    return replace(fit, data=replace(fit.data, lower=lower, upper=upper))
