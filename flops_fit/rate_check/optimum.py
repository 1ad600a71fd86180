"""Where the best rate lies given three losses, and what the rate that was used costs.

    log loss = level + h * skewed(ln(rate / used) - u, skew)

u is where the optimum lies, h the curvature there: the parabola of `flops_fit.recipe.tuning.surface`, skewed as a rate
too high costs more than one too low. Three losses with noise determine u and h badly where the curve is flat, and the
skew not at all, so what is known is a posterior on a grid, with what is believed of h and skew beforehand as in tuning.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from flops_fit.recipe.tuning.posterior import STRAY
from flops_fit.recipe.tuning.surface import skewed
from flops_fit.recipe.tuning.tuned import BELIEFS

OFF_BY = math.log(4.0)  # sd of u that is believed beforehand: a rate in use is seldom off by more than 16
FORM_ERROR = 0.05  # sd of the form's own error, as a share of the excess
SLOPE = 0.2  # sd of du / d ln(FLOPs) that is believed: published exponents of the rate in N and D differ by as much
LEAST_NOISE = 5e-4  # of log loss, where the law's residuals seem to have none
DRAWS, SEED = 4000, 20261
OFFSETS = np.linspace(-3.5, 3.5, 281)  # of u
SPREAD = np.linspace(-2.5, 2.5, 51)  # of ln h, in sd
NODES = ((-math.sqrt(3), 1 / 6), (0.0, 2 / 3), (math.sqrt(3), 1 / 6))  # of the skew, in sd: Gauss and Hermite's three


@dataclass(frozen=True, kw_only=True, eq=False)
class Optimum:
    """Draws of where the best rate lies, u = ln(best / used), of the curvature h and the skew, shape (draws,) each."""

    u: np.ndarray
    h: np.ndarray
    skew: np.ndarray

    @property
    def cost(self) -> np.ndarray:
        """Share of the loss that the used rate costs above the best."""
        return np.expm1(self.h * skewed(-self.u, self.skew))


def optimum_of(
    steps: Sequence[float], log_losses: Sequence[float | None], noise: float, *, too_high: Sequence[float] = ()
) -> Optimum:
    """What losses at several rates say of the best one.

    Args:
        steps: ln(rate / used) of each. log_losses: None where there is none.
        noise: sd of a log loss from one training to the next.
        too_high: ln(rate / used) of trainings that diverged, below which the optimum lies.
    """
    belief = BELIEFS["learning_rate"]
    u, spread, node = np.meshgrid(OFFSETS, SPREAD, [at for at, _ in NODES], indexing="ij")
    h = belief.curvature[0] * belief.curvature[1] ** spread
    skew = belief.asymmetry[0] + belief.asymmetry[1] * node
    log_chance = -0.5 * (u / OFF_BY) ** 2 - 0.5 * spread**2 + np.log([weight for _, weight in NODES])
    known = [(step, loss) for step, loss in zip(steps, log_losses, strict=True) if loss is not None]
    excess = np.stack([h * skewed(step - u, skew) for step, _ in known])  # (n, offsets, curvatures, skews)
    log_chance = log_chance + _log_likelihood(excess, [loss for _, loss in known], max(noise, LEAST_NOISE))
    log_chance = np.where(u < min(too_high, default=math.inf), log_chance, -np.inf)
    chance = np.exp(log_chance - log_chance.max()).ravel()
    at = np.random.default_rng(SEED).choice(chance.size, DRAWS, p=chance / chance.sum())
    return Optimum(u=u.ravel()[at], h=h.ravel()[at], skew=skew.ravel()[at])


def _log_likelihood(excess: np.ndarray, log_losses: Sequence[float], noise: float) -> np.ndarray:
    """Of the losses, shape of one of the `excess` (n, ...); the level, of which nothing is known, is integrated out."""
    weight = 1 / (noise**2 + (FORM_ERROR * excess) ** 2)
    above = np.reshape(log_losses, (-1, *[1] * (excess.ndim - 1))) - excess
    level = (weight * above).sum(0) / weight.sum(0)
    squares = (weight * (above - level) ** 2).sum(0)
    return 0.5 * (np.log(weight).sum(0) - np.log(weight.sum(0)) - squares)


def carried(places: Sequence[float], found: Sequence[Optimum], to: float) -> Optimum:
    """The optimum at `to` (ln FLOPs): u on the line through those at `places`, each weighed by how well it is known,
    with the curve of the last.

    u is a line in ln FLOPs where the optimum and the rule are both powers of it, with a slope of 0 believed beforehand,
    give or take `SLOPE`. Draws of the line follow from draws at the places and of that belief.
    """
    random = np.random.default_rng(SEED)
    x, own = np.asarray(places), np.stack([one.u for one in found])  # (n,), (n, draws)
    y = own + random.normal(0.0, STRAY, own.shape)
    weight = 1 / (own.var(axis=1) + STRAY**2)
    centre = (weight * x).sum() / weight.sum()
    believed = random.normal(0.0, SLOPE, y.shape[1])
    pulls, lever = (weight * (x - centre)) @ y + believed / SLOPE**2, (weight * (x - centre) ** 2).sum() + SLOPE**-2
    u = weight @ y / weight.sum() + pulls / lever * (to - centre)
    u = u.clip(OFFSETS[0], OFFSETS[-1])  # as far as anything is believed to be off
    return Optimum(u=u, h=found[-1].h, skew=found[-1].skew)
