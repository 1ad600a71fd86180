"""Approach 2: a curve through each budget's runs, its minimum, and power laws through the minima."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from scipy import special

from flops_fit.scaling_law.table.runs import Runs

EQUAL = 1e-9  # relative: losses closer than this are equal


@dataclass(frozen=True, kw_only=True)
class IsoflopMinimum:
    """The minimum of one budget's curve of loss against ln N.

    Attributes:
        compute_budget: FLOPs of the budget (median of its runs' FLOPs where none was declared).
        N, D, loss: parameters, tokens and nats at the minimum; of the lowest run where there is none inside the grid.
        interior: the curve has a minimum between the smallest and the largest N of the budget.
        interval: (low, high) of N at 90 %, None where it is unknown.
        coefficients: of the parabola or cubic in `ln N - centre`, highest power first; empty for Akima.
        reason: why there is no interior minimum; empty otherwise.
        bias: factor by which this kind of curve on these sizes misses the optimum where the fitted law holds exactly.
    """

    compute_budget: float
    runs: int
    N: float
    D: float
    loss: float
    interior: bool
    interval: tuple[float, float] | None
    coefficients: tuple[float, ...]
    centre: float
    reason: str
    bias: float = 1.0


@dataclass(frozen=True, kw_only=True)
class PowerLaw:
    """`value = coefficient · C^exponent`."""

    coefficient: float
    exponent: float

    def __call__(self, compute: np.ndarray | float) -> np.ndarray:
        """The value at C FLOPs; infinite or NaN where floating point does not reach."""
        with np.errstate(over="ignore", invalid="ignore"):  # of budgets that lie too close to one another
            return self.coefficient * np.asarray(compute, dtype=float) ** self.exponent


def isoflop_minima(runs: Runs, *, curve: str = "parabola", window: float | None = None) -> tuple[IsoflopMinimum, ...]:
    """The minimum of every budget with at least 3 sizes, ascending in compute.

    `window` keeps the runs within that factor in N of the budget's lowest run (at least 5 where there are).
    """
    minima = []
    for budget in runs.budgets:
        members = runs.subset(runs.budget == budget)
        if len(np.unique(members.num_params)) >= 3:
            minima.append(_minimum(float(budget), _windowed(members, window), curve))
    return tuple(minima)


def with_bias(
    minima: tuple[IsoflopMinimum, ...],
    runs: Runs,
    loss: Callable[[np.ndarray, np.ndarray], np.ndarray],
    optimum: Callable[[np.ndarray], np.ndarray],
) -> tuple[IsoflopMinimum, ...]:
    """The minima with `bias`: the same parabola through the law's own, noise-free `loss(N, D)` at the runs' N and D,
    against the law's `optimum(C)`. Where that lies outside the sizes, the minimum is not interior either."""
    exact = replace(runs, loss=loss(runs.num_params, runs.num_tokens))
    clean = {minimum.compute_budget: minimum for minimum in isoflop_minima(exact)}
    biased = []
    for minimum in minima:
        members = runs.subset(runs.budget == minimum.compute_budget)
        truth = float(optimum(np.array(np.median(members.flops))))
        there = clean[minimum.compute_budget]
        bias = there.N / truth if there.interior and np.isfinite(truth) else 1.0
        reason = minimum.reason or _outside(truth, members)
        interior = not reason
        biased.append(replace(minimum, bias=bias, reason=reason, interior=interior))
    return tuple(biased)


def _outside(N: float, members: Runs) -> str:
    if members.num_params.min() > N:
        return "the law's optimum lies below the smallest model"
    return "the law's optimum lies above the largest model" if members.num_params.max() < N else ""


def fit_power_law(compute: np.ndarray, value: np.ndarray, weights: np.ndarray | None = None) -> PowerLaw:
    """Least squares of ln value on ln C, arrays of shape (budgets,), with inverse variances as weights."""
    root = None if weights is None else np.sqrt(weights)
    exponent, intercept = np.polyfit(np.log(compute), np.log(value), 1, w=root)
    with np.errstate(over="ignore"):  # infinite, of budgets that lie too close to one another
        return PowerLaw(coefficient=float(np.exp(intercept)), exponent=float(exponent))


def _windowed(members: Runs, window: float | None) -> Runs:
    if window is None or len(members) <= 5:
        return members
    distance = np.abs(np.log(members.num_params / members.num_params[np.argmin(members.loss)]))
    limit = max(np.log(window * 1.001), np.sort(distance)[4])
    return members.subset(distance <= limit)


def _minimum(budget: float, members: Runs, curve: str) -> IsoflopMinimum:
    log_n = np.log(members.num_params)
    interval: tuple[float, float] | None
    if curve == "akima":
        position, loss = _akima(members)
        coefficients, centre, interval = np.empty(0), 0.0, None
    else:
        position, loss, coefficients, centre, interval = _polynomial(
            log_n, members.loss, 2 if curve == "parabola" else 3
        )
    reason = _why_no_minimum(position, members)
    if reason:
        lowest = int(np.argmin(members.loss))
        position, loss, interval = float(log_n[lowest]), float(members.loss[lowest]), None
    return IsoflopMinimum(
        compute_budget=budget,
        runs=len(members),
        N=float(np.exp(position)),
        D=float(np.exp(_log_tokens_at(members, position))),
        loss=float(loss),
        interior=not reason,
        interval=interval,
        coefficients=tuple(coefficients.tolist()),
        centre=float(centre),
        reason=reason,
    )


def _why_no_minimum(position: float, members: Runs) -> str:
    """Why ln N = position is not a minimum inside the sizes: outside, within half a step of an end, or the lowest is
    itself the smallest or largest model. Empty where it is inside."""
    if np.ptp(members.loss) <= EQUAL * members.loss.max():
        return "the losses do not differ"
    if not np.isfinite(position):
        return "the curve has no minimum"
    sizes = np.unique(np.log(members.num_params))
    margin = 0.5 * float(np.median(np.diff(sizes)))
    lowest = np.log(members.num_params[members.loss <= members.loss.min() * (1 + EQUAL)])
    for end, outside, words in (
        (sizes[0], position < sizes[0], "below the smallest"),
        (sizes[-1], position > sizes[-1], "above the largest"),
    ):
        if outside:
            return f"the minimum lies {words} model"
        if abs(position - end) < margin or (lowest == end).all():
            return f"the minimum lies at or {words} model"
    return ""


def _polynomial(
    log_n: np.ndarray, loss: np.ndarray, degree: int
) -> tuple[float, float, np.ndarray, float, tuple[float, float] | None]:
    """Vertex (ln N), loss there, coefficients, centre and 90 % delta-method interval of a fitted polynomial."""
    centre = float(log_n.mean())
    x = log_n - centre
    degree = min(degree, len(np.unique(log_n)) - 1)
    powers = np.vander(x, degree + 1)
    coefficients, *_ = np.linalg.lstsq(powers, loss, rcond=None)
    slope = np.polyder(coefficients)
    roots = np.roots(slope)
    real = np.real(roots[np.abs(np.imag(roots)) < 1e-9])
    lowest = [root for root in real if np.polyval(np.polyder(slope), root) > 0]
    if not lowest:
        return float("nan"), float("nan"), coefficients, centre, None
    vertex = float(min(lowest, key=abs))
    freedom = len(loss) - degree - 1
    interval = None
    if freedom > 0:
        variance = float(((loss - powers @ coefficients) ** 2).sum()) / freedom
        covariance = variance * np.linalg.inv(powers.T @ powers)
        derivative = np.array([power * vertex ** (power - 1) if power else 0.0 for power in range(degree, -1, -1)])
        curvature = float(np.polyval(np.polyder(slope), vertex))
        half = float(special.stdtrit(freedom, 0.95) * np.sqrt(derivative @ covariance @ derivative) / curvature)
        ends = np.clip([centre + vertex - half, centre + vertex + half], -700, 700)  # the largest exponents of a float
        interval = (float(np.exp(ends[0])), float(np.exp(ends[1])))
    return centre + vertex, float(np.polyval(coefficients, vertex)), coefficients, centre, interval


def _akima(members: Runs) -> tuple[float, float]:
    """Minimum of Akima's interpolant of ln loss against ln N (Porian et al. 2024), on a fine grid."""
    from scipy.interpolate import Akima1DInterpolator

    sizes, inverse = np.unique(np.log(members.num_params), return_inverse=True)
    loss = np.bincount(inverse, weights=np.log(members.loss)) / np.bincount(inverse)
    if len(sizes) < 4:
        lowest = int(np.argmin(loss))
        return float(sizes[lowest]), float(np.exp(loss[lowest]))
    fine = np.linspace(sizes[0], sizes[-1], 4001)
    values = Akima1DInterpolator(sizes, loss)(fine)
    lowest = int(np.argmin(values))
    return float(fine[lowest]), float(np.exp(values[lowest]))


def _log_tokens_at(members: Runs, position: float) -> float:
    """ln D at ln N = position along the budget: ln(N·D) interpolated, since it changes little within a budget."""
    order = np.argsort(members.num_params)
    log_n, log_d = np.log(members.num_params[order]), np.log(members.num_tokens[order])
    return float(np.interp(position, log_n, log_n + log_d)) - position
