"""How sure the fit is: pairs bootstrap over configurations."""

from __future__ import annotations

import numpy as np

from flops_fit.scaling_law.fitting.newton import Minimum, at_zero, minimise
from flops_fit.scaling_law.fitting.objective import LARGE, jacobian, to_parameters
from flops_fit.scaling_law.fitting.one_step import Linearised, linearise, resample
from flops_fit.scaling_law.fitting.parametric import ParametricFit

HUGE = 1e300
CHUNK = 1_000_000  # runs times refits that are worked on at once, which bounds the memory


def bootstrap(
    fit: ParametricFit, cluster: np.ndarray, *, resamples: int = 1000, seed: int = 0
) -> tuple[np.ndarray, str]:
    """(E, A, B, alpha, beta) refitted on resampled runs, shape (resamples, 5), and what each is in large tables instead
    of a refit (`one_step`), in words.

    Unstratified pairs bootstrap: configurations (`cluster`, (runs,) integers; repeated seeds share one) are drawn with
    replacement, and each refit starts at the point estimate with its delta.
    """
    if len(cluster) <= LARGE:
        return refit(fit, resampled_counts(cluster, resamples, seed)), ""
    (theta,), words = resample([linearised(fit)], cluster, resamples, seed)
    return to_parameters(at_zero(theta, fit.data), fit.data), words


def resampled_counts(cluster: np.ndarray, resamples: int, seed: int) -> np.ndarray:
    """How often each run is drawn, shape (resamples, runs): configurations with replacement, the same for every fit."""
    generator = np.random.default_rng(seed)
    clusters = int(cluster.max()) + 1
    return generator.multinomial(clusters, np.full(clusters, 1 / clusters), size=resamples)[:, cluster]


def refit(fit: ParametricFit, counts: np.ndarray) -> np.ndarray:
    """(E, A, B, alpha, beta) with every run counted `counts` (refits, runs) times, each from the point estimate."""
    rows = max(1, CHUNK // counts.shape[1])
    return np.vstack([_refit(fit, counts[start : start + rows]) for start in range(0, max(1, len(counts)), rows)])


def _refit(fit: ParametricFit, counts: np.ndarray) -> np.ndarray:
    return to_parameters(at_zero(_refitted(fit, counts).theta, fit.data), fit.data)


def _refitted(fit: ParametricFit, counts: np.ndarray) -> Minimum:
    starts = np.repeat(fit.theta[None], len(counts), axis=0)
    weights = counts * (fit.weights / fit.scale**2)
    delta = fit.delta * fit.scale
    return minimise(starts, fit.data, weights, delta, max_iterations=60, tolerance=1e-7, warm=True)


def linearised(fit: ParametricFit) -> Linearised:
    """The fit as one Newton step sees it."""
    return linearise(
        fit.theta,
        fit.residual,
        jacobian(fit.theta, fit.data),
        fit.weights / fit.scale**2,
        fit.delta * fit.scale,
        box=(fit.data.lower, fit.data.upper),
        prior=np.zeros(5),
        refit=lambda counts: at_zero(_refitted(fit, counts).theta, fit.data),
    )


def percentile_interval(values: np.ndarray, level: float) -> tuple[float, float]:
    """Equal-tailed interval of draws; a bound is infinite where that many of them ran away."""
    known = np.clip(values[~np.isnan(values)], -HUGE, HUGE)
    if not len(known):
        return float("nan"), float("nan")
    bounds = np.quantile(known, [(1 - level) / 2, (1 + level) / 2])
    low, high = np.where(np.abs(bounds) >= HUGE / 2, np.copysign(np.inf, bounds), bounds).tolist()
    return low, high
