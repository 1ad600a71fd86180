"""Approach 3: the parametric law `L(N, D) = E + A/N^alpha + B/D^beta` (Hoffmann et al. 2022, section 3.3)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from flops_fit.errors import FitError
from flops_fit.scaling_law.fitting.held import FREE, Held, at_end, limits
from flops_fit.scaling_law.fitting.newton import Minimum, at_zero, minimise
from flops_fit.scaling_law.fitting.objective import (
    LARGE,
    MAX_EXPONENT,
    MIN_EXPONENT,
    MIN_LOG_E,
    Centred,
    centre,
    residuals,
    sample,
    to_parameters,
)
from flops_fit.scaling_law.fitting.starts import grid_starts

TUNING = 1.345  # Huber's constant: 95 % efficiency under Gaussian noise
DELTA_FLOOR = 1e-7
LAD_DELTA = 5e-9  # least absolute deviation as the limit of Huber


@dataclass(frozen=True, kw_only=True)
class ParametricFit:
    """The fitted law and how it was found.

    Attributes:
        parameters: (E, A, B, alpha, beta).
        objective: sum of weighted Huber losses at the optimum, for `delta`.
        sigma: robust standard deviation of the residuals on log loss.
        residual: `ln L_pred - ln L`, shape (runs,).
        at_bound: names of parameters at the edge of what is allowed.
        theta: the optimum in the solver's own coordinates.
        weights: of the runs, shape (runs,).
        scale: each run's residual scale relative to one near the valley, shape (runs,); ones in the plain fit. The
            objective is the sum of `weight · Huber_delta(residual / scale)`.
    """

    parameters: np.ndarray
    objective: float
    delta: float
    sigma: float
    residual: np.ndarray
    at_bound: tuple[str, ...]
    converged: bool
    theta: np.ndarray
    data: Centred
    weights: np.ndarray
    scale: np.ndarray


def fit_parametric(
    num_params: np.ndarray,
    num_tokens: np.ndarray,
    loss: np.ndarray,
    *,
    weights: np.ndarray | None = None,
    delta: float | Literal["auto"] = "auto",
    held: Held = FREE,
) -> ParametricFit:
    """Fit the law to runs, arrays of shape (runs,) in parameters, tokens and nats.

    `delta` is a number, 0 for least absolute deviation (as a limit) or "auto": 1.345 times the residuals' robust
    standard deviation. `held` are known parameters (`held.checked`). Raises `FitError` for fewer than 6 runs (one more
    than what is not held at a value) or a negative delta.
    """
    lower, upper = limits(held)
    free = int((lower < upper).sum())
    if len(loss) <= free:
        raise FitError(f"{len(loss)} usable runs cannot fix the law's {free} parameters; give at least {free + 1}")
    if delta != "auto" and not 0 <= float(delta) < np.inf:
        raise FitError(f"delta = {delta!r} must be a number >= 0 or 'auto'")
    data = centre(num_params, num_tokens, loss, lower=lower, upper=upper, as_they_are=held)
    weights = np.ones(len(loss)) if weights is None else np.asarray(weights, dtype=float)
    found, chosen = _fit_auto(data, weights) if delta == "auto" else _fit_delta(data, weights, float(delta))
    return as_fit(found, int(np.argmin(found.value)), data, weights, chosen, np.ones(len(loss)))


def as_fit(
    found: Minimum, index: int, data: Centred, weights: np.ndarray, delta: float, scale: np.ndarray
) -> ParametricFit:
    """The minimum number `index` of `found` as a fit."""
    theta = at_zero(found.theta[[index]], data)[0]
    residual = residuals(theta[None], data)[0]
    return ParametricFit(
        parameters=to_parameters(theta[None], data)[0],
        objective=float(found.value[index]),
        delta=delta,
        sigma=robust_sigma(residual / scale, weights, int(data.free.sum())),
        residual=residual,
        at_bound=_at_bound(theta, data),
        converged=bool(found.converged[index]),
        theta=theta,
        data=data,
        weights=weights,
        scale=scale,
    )


def robust_sigma(residual: np.ndarray, weights: np.ndarray, parameters: int = 5) -> float:
    """1.4826 · weighted median of |r|, widened for the fitted parameters' degrees of freedom."""
    size = np.abs(residual)
    order = np.argsort(size)
    cumulative = np.cumsum(weights[order])
    middle = size[order][np.searchsorted(cumulative, cumulative[-1] / 2)]
    count = len(residual)
    return float(1.4826 * middle * np.sqrt(count / max(count - parameters, 1)))


def _starts(data: Centred, weights: np.ndarray) -> np.ndarray:
    """Grid minima by least squares, and again with the runs that misfit the best of them weighted down."""
    first = grid_starts(data, weights)
    residual = residuals(first[:1], data)[0]
    size = np.abs(residual)
    soft = weights / np.maximum(1.0, size / max(2 * float(np.median(size)), 1e-12))
    return np.vstack([first, grid_starts(data, soft)])


def _fit_auto(data: Centred, weights: np.ndarray) -> tuple[Minimum, float]:
    """Alternate between the fit and delta = 1.345 sigma of its residuals until delta settles.

    In large tables from where that ends for a sample.
    """
    delta = 0.0
    if len(weights) > LARGE:
        part = sample(data)
        found, delta = _fit_auto(data.subset(part), weights[part])
    else:
        found = minimise(_starts(data, weights), data, weights, 0.01, max_iterations=30)
    for _ in range(30):
        best = found.theta[np.argmin(found.value)]
        new = max(TUNING * robust_sigma(residuals(best[None], data)[0], weights, int(data.free.sum())), DELTA_FLOOR)
        if abs(new - delta) <= 1e-6 * new:
            break
        first, delta = delta == 0.0, new
        found = minimise(_distinct(found), data, weights, delta, tolerance=1e-9, warm=not first)
    return minimise(_distinct(found), data, weights, delta, warm=True), delta


def _fit_delta(data: Centred, weights: np.ndarray, delta: float) -> tuple[Minimum, float]:
    """Down a ladder of deltas, each step starting where the last ended; in large tables for a sample first."""
    delta = max(delta, LAD_DELTA)
    if len(weights) > LARGE:
        part = sample(data)
        return minimise(_distinct(_fit_delta(data.subset(part), weights[part], delta)[0]), data, weights, delta), delta
    found = minimise(_starts(data, weights), data, weights, max(delta, 1e-2), max_iterations=60)
    rungs = max(1, int(np.ceil(np.log(max(1e-2 / delta, 1.0)) / np.log(3.0))))
    for rung in np.geomspace(max(delta, 1e-2), delta, rungs + 1)[1:]:
        found = minimise(_distinct(found), data, weights, float(rung))
    return found, delta


def _distinct(found: Minimum) -> np.ndarray:
    """Starts that ended in different places, best first, at most four."""
    order = np.argsort(found.value)
    kept = [found.theta[order[0]]]
    for theta in found.theta[order[1:]]:
        if min(np.abs(theta - other).max() for other in kept) > 1e-3 and len(kept) < 4:
            kept.append(theta)
    return np.array(kept)


def _at_bound(theta: np.ndarray, data: Centred) -> tuple[str, ...]:
    names = [*at_end(theta, data)]
    if data.free[0] and theta[0] <= MIN_LOG_E:
        names.append("E")
    for index, name in ((3, "alpha"), (4, "beta")):
        if not data.free[index]:
            continue
        if theta[index] <= 2 * MIN_EXPONENT or theta[index] >= MAX_EXPONENT * (1 - 1e-6):
            names.append(name)
    return tuple(dict.fromkeys(names))
