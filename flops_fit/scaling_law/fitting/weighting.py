"""Real laws bend: a fit that trusts runs near the valley and at high compute more, as far as the runs support it.

A run's residual scale is `s·sqrt(1 + (ln(N/N_opt)/v)^4 + (ln(C_top/C)/c)^2)`. The level (v, c) is the one with the
highest profile likelihood under Huber's least favourable density, with one unit of log likelihood charged for each of
v and c (Akaike 1974); no weighting at all is among the candidates. N_opt follows the fit. Levels and charge were judged
on small parts of public tables (`benchmarks/weighting.py`) and on whole ones without their largest budget.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from flops_fit.scaling_law.fitting.newton import Minimum, minimise
from flops_fit.scaling_law.fitting.objective import LARGE, Centred, huber, residuals, sample
from flops_fit.scaling_law.fitting.parametric import DELTA_FLOOR, TUNING, ParametricFit, as_fit, robust_sigma

DISTANCES = (np.inf, 2.0, 1.4)  # v: |ln(N/N_opt)| at which the scale starts to grow
AGES = (np.inf, 4.0, 2.0, 1.0)  # c: ln(C_top/C) likewise
LEVELS = tuple((v, c) for v in DISTANCES for c in AGES)
ROUNDS = 2
MIN_RUNS = 15
CHARGE = 1.0  # log likelihood that each of v and c must bring in: Akaike's criterion
EXACT = 1e-7  # residuals below this leave nothing to weight by


@dataclass(frozen=True, kw_only=True)
class Weighting:
    """How runs were weighted, as data.

    Attributes:
        kind: "plain" (all alike) or "valley".
        v, c: the level; None for no growth with distance or with age.
        gain: log likelihood of the level above no weighting, after the charge.
        other: (E, A, B, alpha, beta) of the other kind of fit, None where there are too few runs for it.
    """

    kind: str
    v: float | None = None
    c: float | None = None
    gain: float = 0.0
    other: tuple[float, ...] | None = None

    @property
    def description(self) -> str:
        """The weighting in words."""
        if self.kind == "plain":
            return "all runs alike"
        parts = [f"|ln(N/N_opt)| beyond {self.v:g}"] if self.v else []
        parts += [f"ln(C_top/C) beyond {self.c:g}"] if self.c else []
        return f"valley: runs count less with {' and '.join(parts)} (log likelihood +{self.gain:.1f})"


@dataclass(frozen=True, kw_only=True)
class ValleyFit:
    """The chosen level and its fit; `gain` is its log likelihood above the plain fit's, after the charge."""

    fit: ParametricFit
    v: float
    c: float
    gain: float

    @property
    def is_plain(self) -> bool:
        """Whether no weighting was chosen."""
        return bool(np.isinf(self.v) and np.isinf(self.c))

    def weighting(self, other: ParametricFit | None) -> Weighting:
        """The choice as data, with what the other kind of fit gives."""
        return Weighting(
            kind="plain" if self.is_plain else "valley",
            v=self.v if np.isfinite(self.v) else None,
            c=self.c if np.isfinite(self.c) else None,
            gain=self.gain,
            other=tuple(other.parameters.tolist()) if other is not None else None,
        )


def fit_valley(
    plain: ParametricFit, flops: np.ndarray, optimum: Callable[[np.ndarray], np.ndarray], *, forced: bool = False
) -> ValleyFit:
    """The best level for the runs of `plain`, or the best apart from none where `forced`.

    `flops` has shape (runs,); `optimum` gives N_opt at these FLOPs from (E, A, B, alpha, beta).
    """
    if (len(flops) < MIN_RUNS or plain.sigma < EXACT) and not forced:
        return ValleyFit(fit=plain, v=np.inf, c=np.inf, gain=0.0)
    best = plain
    log_age = np.log(flops.max() / flops)
    choice = 0
    for _ in range(ROUNDS):
        distance = np.log(np.exp(plain.data.n + plain.data.n_mean) / optimum(best.parameters))
        scales = np.array([residual_scale(distance, log_age, v, c) for v, c in LEVELS])
        found, deltas = _fit_scales(np.repeat(best.theta[None], len(scales), axis=0), plain.data, plain.weights, scales)
        criterion = _criterion(found, scales, plain)
        choice = int(np.argmin(criterion[1:])) + 1 if forced else int(np.argmin(criterion))
        best = as_fit(found, choice, plain.data, plain.weights, float(deltas[choice]), scales[choice])
    v, c = LEVELS[choice]
    gain = float(criterion[0] - criterion[choice])
    return ValleyFit(fit=plain if choice == 0 else best, v=v, c=c, gain=gain)


def residual_scale(distance: np.ndarray, log_age: np.ndarray, v: float, c: float) -> np.ndarray:
    """`sqrt(1 + (ln(N/N_opt)/v)^4 + (ln(C_top/C)/c)^2)`."""
    return np.sqrt(1 + (distance / v) ** 4 + (log_age / c) ** 2)


def _fit_scales(theta: np.ndarray, data: Centred, trust: np.ndarray, scales: np.ndarray) -> tuple[Minimum, np.ndarray]:
    """Fits from `theta` (levels, 5) for all rows of `scales` (levels, runs) at once, each with its own delta = 1.345
    sigma, in large tables from those of a sample; the deltas. `trust` are the runs' own weights."""
    if len(trust) > LARGE:
        part = sample(data)
        theta = _fit_scales(theta, data.subset(part), trust[part], scales[:, part])[0].theta
    weights = trust / scales**2
    deltas = np.zeros(len(scales))
    for _ in range(8):
        scaled = residuals(theta, data) / scales
        new = np.array([max(TUNING * robust_sigma(row, trust, int(data.free.sum())), DELTA_FLOOR) for row in scaled])
        if (np.abs(new - deltas) <= 1e-4 * new).all():
            break
        deltas = new
        found = minimise(theta, data, weights, deltas[:, None] * scales, tolerance=1e-11, warm=True)
        theta = found.theta
    return found, deltas


def _criterion(found: Minimum, scales: np.ndarray, plain: ParametricFit) -> np.ndarray:
    """Negative profile log likelihood of each level, plus the charge."""
    scaled = residuals(found.theta, plain.data) / scales
    spread = _profile_scale(scaled, plain.weights)
    total = float(plain.weights.sum())
    misfit = (plain.weights * huber(scaled / spread[:, None], TUNING)).sum(axis=1)
    charge = CHARGE * np.array([float(np.isfinite(v)) + float(np.isfinite(c)) for v, c in LEVELS])
    return misfit + total * np.log(spread) + np.log(scales) @ plain.weights + charge


def _profile_scale(scaled: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The s that maximises the likelihood of each row (levels, runs): sum of psi(z/s)·z/s = number of runs."""
    spread = 1.4826 * np.median(np.abs(scaled), axis=1) + 1e-12
    for _ in range(30):
        ratio = scaled / spread[:, None]
        spread = spread * np.sqrt((np.clip(ratio, -TUNING, TUNING) * ratio) @ weights / weights.sum()) + 1e-15
    return spread
