"""Design: what each trial that could be run would tell about the best recipe at the targets, for what it costs.

Bayesian A-optimal design with the model linearised (Chaloner & Verdinelli 1995, section 4): what is to become small is
the expected excess at the targets, a trace of the posterior covariance. What a trial tells depends on where the optimum
is, which is not known, so gains are averaged over draws of the posterior.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from flops_fit.recipe.tuning.posterior import Posterior, Problem, edges, survival, variance
from flops_fit.recipe.tuning.surface import Array
from flops_fit.recipe.tuning.trial import Cell, Trial
from flops_fit.recipe.tuning.tuned import Tuned

DRAWS, SEED = 16, 20260


@dataclass(frozen=True, kw_only=True, eq=False)
class Pool:
    """Candidates under S draws of the posterior, of which each says what is known and what matters.

    Attributes:
        gradient: (S, n, size) of log loss. noise: (S, n) variance of a trial. chance: (S, n) that it finishes.
        price: (n) cost. covariance: (S, size, size) of the parameters about each draw.
        matter: (size, r) columns whose squared length under the covariance is the expected excess.
        entered: (n) whether their cell has a trial already.
    """

    gradient: Array
    noise: Array
    chance: Array
    price: Array
    matter: Array
    covariance: Array
    entered: Array

    def choose(self, count: int, cell: Array, longest: int) -> list[int]:
        """The best `count` candidates, block by block; `cell` (n) tells which belong together."""
        left, covariance = np.ones(len(cell), dtype=bool), self.covariance
        picked: list[int] = []
        while len(picked) < count and left.any():
            each = [np.flatnonzero(left & (cell == one)) for one in np.unique(cell[left])]
            _, block, covariance = max((self._best_of(mine, covariance, longest) for mine in each), key=lambda b: b[0])
            left[block] = False
            picked += block
        return picked[:count]

    def _best_of(self, mine: Array, covariance: Array, longest: int) -> tuple[float, list[int], Array]:
        """Of the candidates `mine`, of one cell: those that gain most per cost together, one after the other.

        A new cell gains nothing by its first trial, of which only the level is learnt, so that single trials would
        never leave the cells that are known. That first one is the surest to tell the level, which is where the best
        value is thought to be. Returns the gain per cost, the candidates, and the covariance after them.
        """
        g, chance, price = self.gradient[:, mine], self.chance[:, mine], self.price[mine]
        spread = g @ covariance
        variance = (spread * g).sum(-1) + self.noise[:, mine]
        lever = spread @ self.matter  # (S, n, r)
        found, total, spent = (-np.inf, list[int](), covariance), 0.0, 0.0
        block: list[int] = []
        for _ in range(min(longest, len(mine))):
            gain = (lever**2).sum(-1) / variance * chance
            enters = not block and not self.entered[mine[0]]
            score = (chance / self.noise[:, mine]).mean(0) if enters else gain.mean(0) / price
            score[block] = -np.inf
            at = int(score.argmax())
            block.append(at)
            total, spent = total + float(gain[:, at].mean()), spent + float(price[at])
            share = np.sqrt(chance[:, at] / variance[:, at])[:, None]
            column = np.einsum("spq,sq->sp", covariance, g[:, at]) * share
            covariance = covariance - column[:, :, None] * column[:, None, :]
            common = np.einsum("snp,sp->sn", g, column)
            variance = variance - common**2
            lever = lever - common[..., None] * (column @ self.matter)[:, None]
            if total / spent > found[0]:
                found = (total / spent, [int(mine[one]) for one in block], covariance)
        return found


def pool_of(
    offered: Sequence[Trial],
    level: Array,
    posterior: Posterior,
    problem: Problem,
    origin: Cell,
    tuned: Sequence[Tuned],
    targets: Sequence[Cell],
    prices: Sequence[float],
) -> Pool:
    """The candidates `offered`; `level` (n) numbers their cells as `problem` does."""
    surface = posterior.surface
    normal = np.random.default_rng(SEED).standard_normal((DRAWS, surface.size))
    moved = posterior.theta + normal @ np.linalg.cholesky(posterior.covariance).T
    theta = np.tile(posterior.theta, (DRAWS, 1))
    for name in "mpq":
        theta[:, surface.part(name)] = moved[:, surface.part(name)]
    _, jacobian = problem.residuals(theta, problem.spread(theta, posterior.sigma))
    covariance = np.linalg.inv(np.swapaxes(jacobian, 1, 2) @ jacobian + np.diag(problem.sd**-2.0))
    x = np.log([[trial.values[item.name] for item in tuned] for trial in offered])
    place = np.log([np.divide(trial.cell, origin) for trial in offered])
    excess, gradient, v, _ = surface.with_gradient(theta, x, place, level)
    return Pool(
        gradient=gradient,
        noise=variance(posterior.sigma, excess, v),
        chance=survival(v, edges(posterior, problem)).prod(-1),
        price=np.array(prices),
        covariance=covariance,
        matter=_matter(posterior, np.log([np.divide(cell, origin) for cell in targets])),
        entered=np.isin(level, problem.evidence.cell),
    )


def _matter(posterior: Posterior, aim: Array) -> Array:
    """(size, 3k) F with expected excess at the targets = trace of F' covariance F; at the most probable parameters."""
    surface, theta = posterior.surface, posterior.theta
    root = surface.turned(theta).T * np.exp(theta[surface.part("log_h")] / 2) / np.sqrt(2)  # (k, k)
    rows = np.column_stack([np.ones(len(aim)), aim]) * np.exp(theta[surface.part("fade")] / 2 * aim[:, :1])
    weight = np.linalg.cholesky(rows.T @ rows / len(aim) + 1e-9 * np.eye(3))
    matter = np.zeros((surface.size, 3 * surface.count))
    for i, name in enumerate("mpq"):
        matter[surface.part(name)] = np.kron(weight[i], root)
    return matter
