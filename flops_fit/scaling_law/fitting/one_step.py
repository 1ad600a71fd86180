"""Resamples and leave-one-out of large tables: one Newton step from the fit each, a few of them refitted in full.

A refit solves `sum of counts · gradient_i(theta) = 0` over the runs. One step from the fit needs the runs' gradients
there only once, and a resample is then the product of its counts with them. The step errs by the order of 1/runs, where
the standard error is of the order of 1/sqrt(runs). The curvature is that of M-estimation (Huber & Ronchetti 2009,
chapter 7), `m·JᵀWJ` with m the share of residuals within delta.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

CHECKED = 16  # resamples that are refitted in full too
AGREE = 0.25  # of a standard error that these may be apart; beyond it all resamples are refits in full,
REFITS, CELLS = 100, 2_000_000  # as many as make so many (runs times refits), at least 100, each counted several times
CHUNK = 1_000_000  # counts that are worked on at once, which bounds the memory


@dataclass(frozen=True, kw_only=True, eq=False)
class Linearised:
    """A fit as one Newton step sees it, k parameters in the box [lower, upper].

    Attributes:
        theta: where the fit ended, (k,).
        gradient: of each run's part of the objective there, (runs, k).
        curvature: of the whole objective, (k, k), the prior included.
        pull: the prior's own gradient, (k,).
        leverage: of each run, (runs,).
        refit: counts (refits, runs) to theta (refits, k), in full.
    """

    theta: np.ndarray
    lower: np.ndarray
    upper: np.ndarray
    gradient: np.ndarray
    curvature: np.ndarray
    pull: np.ndarray
    leverage: np.ndarray
    refit: Callable[[np.ndarray], np.ndarray]

    def steps(self, gradients: np.ndarray) -> np.ndarray:
        """Theta after one step where the runs' gradients add up to `gradients` (refits, k); bounds hold."""
        free = (self.theta > self.lower) & (self.theta < self.upper)
        inverse = np.zeros_like(self.curvature)
        inverse[np.ix_(free, free)] = np.linalg.pinv(self.curvature[np.ix_(free, free)], hermitian=True)
        return np.clip(self.theta - (gradients + self.pull) @ inverse, self.lower, self.upper)

    def without_each(self, cluster: np.ndarray) -> np.ndarray:
        """Theta without each configuration in turn, shape (configurations, k)."""
        sums = by_configuration(self.gradient, cluster)
        leverage = np.minimum(np.bincount(cluster, weights=self.leverage), 0.99)
        return self.steps(sums.sum(axis=0) - sums / (1 - leverage[:, None]))


def linearise(
    theta: np.ndarray,
    residual: np.ndarray,
    slopes: np.ndarray,
    weights: np.ndarray,
    delta: np.ndarray,
    *,
    box: tuple[np.ndarray, np.ndarray],
    prior: np.ndarray,
    refit: Callable[[np.ndarray], np.ndarray],
) -> Linearised:
    """A Huber fit with threshold `delta` as one step sees it: `slopes` (runs, k) of `residual` (runs,) at `theta`, and
    `prior` (k,), the precision of a normal prior around 0."""
    inside = weights @ (np.abs(residual) <= delta) / weights.sum()
    curvature = inside * (slopes * weights[:, None]).T @ slopes + np.diag(prior)
    spread = slopes @ np.linalg.pinv(curvature, hermitian=True)
    return Linearised(
        theta=theta,
        lower=box[0],
        upper=box[1],
        gradient=slopes * (np.clip(residual, -delta, delta) * weights)[:, None],
        curvature=curvature,
        pull=prior * theta,
        leverage=inside * weights * (spread * slopes).sum(axis=1),
        refit=refit,
    )


def by_configuration(values: np.ndarray, cluster: np.ndarray) -> np.ndarray:
    """Rows of `values` (runs, k) added up by configuration, (configurations, k)."""
    return np.column_stack([np.bincount(cluster, weights=column) for column in values.T])


def counts_in_chunks(clusters: int, resamples: int, seed: int) -> Iterator[np.ndarray]:
    """How often each configuration is drawn, with replacement, in chunks of shape (some resamples, configurations)."""
    generator = np.random.default_rng(seed)
    rows = max(1, CHUNK // clusters)
    for start in range(0, resamples, rows):
        drawn = (generator.integers(clusters, size=clusters) for _ in range(min(rows, resamples - start)))
        yield np.array([np.bincount(each, minlength=clusters) for each in drawn], dtype=float)


def resample(
    fits: Sequence[Linearised], cluster: np.ndarray, resamples: int, seed: int
) -> tuple[list[np.ndarray], str]:
    """Theta (resamples, k) of each of `fits` on the same resampled configurations, and what each is, in words."""
    sums = np.hstack([by_configuration(fit.gradient, cluster) for fit in fits])
    drawn = np.vstack([counts @ sums for counts in counts_in_chunks(len(sums), resamples, seed)])
    parts = np.split(drawn, np.cumsum([len(fit.theta) for fit in fits])[:-1], axis=1)
    draws = [fit.steps(part) for fit, part in zip(fits, parts, strict=True)]
    full = _in_full(fits, cluster, min(CHECKED, resamples), seed)
    apart = max(_apart(some, every) for some, every in zip(full, draws, strict=True))
    checked = f"{len(full[0])} refitted in full differ by {apart:.2g} standard errors"
    if apart <= AGREE:
        return draws, f"one Newton step from the fit ({checked})"
    number = min(resamples, max(REFITS, CELLS // len(cluster)))
    refits = _in_full(fits, cluster, number, seed)
    words = f"one of {number} refits in full, since one Newton step would not do ({checked})"
    return [np.resize(each, (resamples, each.shape[1])) for each in refits], words


def _in_full(fits: Sequence[Linearised], cluster: np.ndarray, number: int, seed: int) -> list[np.ndarray]:
    """The first `number` resamples refitted in full, few at a time."""
    parts = [
        [fit.refit(counts[:, cluster]) for fit in fits]
        for counts in counts_in_chunks(int(cluster.max()) + 1, number, seed)
    ]
    return [np.vstack(each) for each in zip(*parts, strict=True)]


def _apart(full: np.ndarray, draws: np.ndarray) -> float:
    """What one step is off, in standard errors: the worst parameter's root mean square."""
    spread = draws.std(axis=0)
    off = np.sqrt(np.mean((draws[: len(full)] - full) ** 2, axis=0))
    return float((off[spread > 0] / spread[spread > 0]).max(initial=0.0))
