"""Intervals without resampling: the delta method and the profile of the objective.

Both rest on M-estimation theory (Huber & Ronchetti 2009, chapters 7 and 13): near the optimum the objective is
quadratic with curvature `m·JᵀJ` (J scaled by the residual scale, m the share of residuals within delta), residual
variance enters as `tau² = sum psi²/(n - 5)`, and Student's t on n - 5 degrees of freedom stands for the normal.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import special

from flops_fit.scaling_law.fitting.objective import (
    Centred,
    derivatives,
    free_columns,
    jacobian,
    objective,
    to_parameters,
)

STEP = 1e-5


@dataclass(frozen=True, kw_only=True, eq=False)
class Optimum:
    """What the instant intervals need of a fit; `weights` are already over the squared scale, `delta` times it."""

    theta: np.ndarray
    data: Centred
    weights: np.ndarray
    delta: np.ndarray
    scale: np.ndarray
    residual: np.ndarray

    @property
    def freedom(self) -> int:
        """Residual degrees of freedom."""
        return max(len(self.residual) - int(self.data.free.sum()), 1)

    @property
    def inside(self) -> float:
        """Share of residuals within delta."""
        return max(float((np.abs(self.residual) <= self.delta).mean()), 0.1)

    @property
    def noise(self) -> float:
        """tau²: mean square of the clipped, scaled residuals."""
        clipped = np.clip(self.residual, -self.delta, self.delta) / self.scale
        return float((clipped**2).sum()) / self.freedom


def delta_interval(
    fit: Optimum, quantity: Callable[[np.ndarray], np.ndarray], level: float, *, log: bool
) -> tuple[float, float]:
    """Estimate ± t·standard error of `quantity((k, 5) parameters) -> (k,)`, symmetric in its logarithm if `log`."""
    value, slope = _value_and_slope(fit.theta, fit.data, quantity, log)
    scaled = free_columns(jacobian(fit.theta, fit.data), fit.data) / fit.scale[:, None]
    slope = free_columns(slope, fit.data)
    covariance = fit.noise / fit.inside**2 * np.linalg.pinv(scaled.T @ scaled, hermitian=True)
    half = float(special.stdtrit(fit.freedom, (1 + level) / 2) * np.sqrt(max(slope @ covariance @ slope, 0.0)))
    return _back(value - half, log), _back(value + half, log)


def profile_interval(
    fit: Optimum, quantity: Callable[[np.ndarray], np.ndarray], level: float, *, log: bool
) -> tuple[float, float]:
    """Where the lowest objective with `quantity` held fixed rises by `t²·tau²/(2·m)`; infinite where it never does."""
    value, slope = _value_and_slope(fit.theta, fit.data, quantity, log)
    if not free_columns(slope, fit.data).any():  # all that it depends on is held
        return _back(value, log), _back(value, log)
    threshold = special.stdtrit(fit.freedom, (1 + level) / 2) ** 2 * fit.noise / (2 * fit.inside)
    low_guess, high_guess = delta_interval(fit, quantity, level, log=log)
    width = max((np.log(high_guess / low_guess) if log else high_guess - low_guess) / 2, 1e-9)
    ends = [_crossing(fit, quantity, log, value, sign * width, threshold) for sign in (-1.0, 1.0)]
    return _back(ends[0], log), _back(ends[1], log)


def _crossing(
    fit: Optimum, quantity: Callable[[np.ndarray], np.ndarray], log: bool, value: float, step: float, rise_at_end: float
) -> float:
    """Walk outwards until the constrained objective has risen by `rise_at_end`, then interpolate its square root."""
    theta, inner, inner_rise = fit.theta, value, 0.0
    base = float(objective(fit.theta[None], fit.data, fit.weights, fit.delta)[0])
    goal = np.sqrt(rise_at_end)
    for number in range(1, 25):
        target = value + step * number / 3
        theta, lowest = _constrained(fit, quantity, log, theta, target)
        rise = float(np.sqrt(max(lowest - base, 0.0)))
        if not np.isfinite(rise):
            break
        if rise >= goal:
            return float(inner + (target - inner) * (goal - inner_rise) / (rise - inner_rise))
        inner, inner_rise = target, rise
    return float(np.inf * np.sign(step))


def _constrained(
    fit: Optimum, quantity: Callable[[np.ndarray], np.ndarray], log: bool, theta: np.ndarray, target: float
) -> tuple[np.ndarray, float]:
    """The lowest objective with quantity = target, by Newton on the Lagrangian from `theta`."""
    lowest, at = np.inf, np.flatnonzero(fit.data.free)
    for _ in range(25):
        value, slope = _value_and_slope(theta, fit.data, quantity, log)
        f, gradient, hessian = derivatives(theta[None], fit.data, fit.weights, fit.delta, np.zeros(1))
        lowest = float(f[0])
        values, vectors = np.linalg.eigh(hessian[0])
        curvature = vectors @ np.diag(np.maximum(np.abs(values), 1e-10 * np.abs(values).max())) @ vectors.T
        system = np.block([[curvature[np.ix_(at, at)], slope[at, None]], [slope[None, at], np.zeros((1, 1))]])
        step = np.zeros(5)
        step[at] = np.linalg.lstsq(system, np.append(-gradient[0][at], target - value), rcond=None)[0][:-1]
        size = float(np.abs(step).max())
        theta = theta + step * min(1.0, 0.5 / max(size, 1e-12))
        if size < 1e-9:
            break
    return theta, lowest


def _value_and_slope(
    theta: np.ndarray, data: Centred, quantity: Callable[[np.ndarray], np.ndarray], log: bool
) -> tuple[float, np.ndarray]:
    """The quantity (or its logarithm) and its gradient in theta, by central differences."""
    around = theta + STEP * np.vstack([np.zeros(5), np.eye(5), -np.eye(5)])
    with np.errstate(all="ignore"):
        values = quantity(to_parameters(around, data))
        values = np.log(values) if log else values
    return float(values[0]), (values[1:6] - values[6:]) / (2 * STEP)


def _back(value: float, log: bool) -> float:
    return float(np.exp(value)) if log else value
