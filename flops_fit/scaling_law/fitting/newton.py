"""Damped Newton in a box, over many starts or bootstrap resamples at once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from flops_fit.scaling_law.fitting.objective import LARGE, MIN_LOG_E, Centred, derivatives

E_IS_ZERO = np.log(1e-9)  # ln E below this, relative to the smallest loss, is E = 0
MOST_LARGE = 40
Rows = slice | np.ndarray  # of the starts
Evaluate = Callable[[Rows, np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray, np.ndarray]]


@dataclass(frozen=True, kw_only=True)
class Minimum:
    """Where the iteration ended: theta (starts, k), objective (starts,), converged (starts,)."""

    theta: np.ndarray
    value: np.ndarray
    converged: np.ndarray
    iterations: int


def minimise(
    theta: np.ndarray,
    data: Centred,
    weights: np.ndarray,
    delta: float | np.ndarray,
    *,
    max_iterations: int = 200,
    tolerance: float = 1e-13,
    warm: bool = False,
) -> Minimum:
    """Minimise the objective from every row of `theta` (starts, 5), staying within the limits of `data`.

    `weights` has shape (runs,) or (starts, runs); `delta` is one number or an array of either shape. In large tables
    there are 40 iterations at most, since a search on a sample went before. See `descend`.
    """
    thresholds = np.asarray(delta, dtype=float)

    def evaluate(rows: Rows, theta: np.ndarray, blend: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        own = weights[rows] if weights.ndim == 2 else weights
        return derivatives(theta, data, own, thresholds[rows] if thresholds.ndim == 2 else thresholds, blend)

    most = min(max_iterations, MOST_LARGE) if len(data.n) > LARGE else max_iterations
    return descend(
        theta,
        evaluate,
        data.lower,
        data.upper,
        max_iterations=most,
        tolerance=tolerance,
        first_mix=0.0 if warm else 1.0,
    )


def descend(
    theta: np.ndarray,
    evaluate: Evaluate,
    lower: np.ndarray,
    upper: np.ndarray,
    *,
    max_iterations: int,
    tolerance: float,
    first_mix: float,
) -> Minimum:
    """Minimise from every row of `theta` (starts, k), staying in the box [lower, upper], (k,) each.

    `evaluate` gives value (rows,), gradient (rows, k) and Hessian (rows, k, k) of some rows. Each iteration takes the
    exact Hessian's eigenvalues in absolute value plus a damping that shrinks with success; the Huber curvature starts
    as reweighted least squares (`first_mix` 1) and blends into Newton (0, for warm starts). A start is converged when
    the decrease that the quadratic model still promises is below `tolerance` times the objective, or the step below
    1e-13.
    """
    theta = np.clip(theta, lower, upper)
    count = len(theta)
    damping, mix = np.full(count, 1e-3), np.full(count, first_mix)
    best, converged = theta.copy(), np.zeros(count, dtype=bool)
    value, gradient, hessian = evaluate(slice(None), theta, mix)
    best_value = value.copy()
    active = np.arange(count)
    iterations = 0
    while active.size and iterations < max_iterations:
        iterations += 1
        here = best[active]
        step, promised = _step(here, gradient, hessian, damping, lower, upper)
        trial = np.clip(here + step, lower, upper)
        trial_mix = mix * 0.1
        new_value, new_gradient, new_hessian = evaluate(active, trial, trial_mix)
        better = new_value < best_value[active]
        taken = active[better]
        best[taken], best_value[taken] = trial[better], new_value[better]
        gradient[better], hessian[better] = new_gradient[better], new_hessian[better]
        damping = np.where(better, damping * 0.1, np.minimum(damping * 8 + 1e-9, 1e9))
        damping[damping < 1e-14] = 0.0
        mix = np.where(better, np.where(trial_mix < 1e-3, 0.0, trial_mix), np.minimum(1.0, mix * 4 + 0.02))
        size = np.abs(step).max(axis=1)
        done = (promised <= tolerance * best_value[active]) | (size < 1e-13)
        done |= ~better & (damping > 1e6)
        if done.any():
            converged[active[done]] = True
            keep = ~done
            active = active[keep]
            gradient, hessian, damping, mix = gradient[keep], hessian[keep], damping[keep], mix[keep]
    return Minimum(theta=best, value=best_value, converged=converged, iterations=iterations)


def at_zero(theta: np.ndarray, data: Centred) -> np.ndarray:
    """`theta` (starts, 5) with every E that changes no loss at its lower bound, not where the iteration gave it up."""
    log_e = np.where(theta[:, 0] < data.log_loss.min() + E_IS_ZERO, MIN_LOG_E, theta[:, 0])
    return np.column_stack([log_e, theta[:, 1:]])


def _step(
    theta: np.ndarray,
    gradient: np.ndarray,
    hessian: np.ndarray,
    damping: np.ndarray,
    lower: np.ndarray,
    upper: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Newton step on the components that are free to move, and the decrease the undamped model promises."""
    stuck = ((theta <= lower) & (gradient > 0)) | ((theta >= upper) & (gradient < 0))
    if stuck.any():
        free = ~stuck
        gradient = gradient * free
        hessian = hessian * free[:, :, None] * free[:, None, :]
        hessian = hessian + stuck[:, :, None] * np.eye(theta.shape[1]) * np.abs(hessian).max(axis=(1, 2))[:, None, None]
    scale = np.sqrt(np.maximum(np.abs(np.einsum("skk->sk", hessian)), 1e-300))
    scale = np.maximum(scale, scale.max(axis=1, keepdims=True) * 1e-8)
    values, vectors = np.linalg.eigh(hessian / (scale[:, :, None] * scale[:, None, :]))
    projected = np.einsum("ski,sk->si", vectors, gradient / scale)
    size = np.maximum(np.abs(values), 1e-14 * np.abs(values).max(axis=1, keepdims=True) + 1e-300)
    step = -np.einsum("ski,si->sk", vectors, projected / (size + damping[:, None])) / scale
    promised = 0.5 * (projected**2 / size).sum(axis=1)
    limit = 2.0 / np.maximum(np.abs(step).max(axis=1, keepdims=True), 1e-300)
    return step * np.minimum(1.0, limit), promised
