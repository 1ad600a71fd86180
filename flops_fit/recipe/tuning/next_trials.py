"""next_trials: which trainings to run next, so that the recipe is expected to lose least where it will be used.

First round: the guess and each tuned value up and down, at the cheapest cell. After that the trials that lower the
expected excess at the targets most per FLOP (Bayesian A-optimal design, averaged over draws of the posterior), one
after the other, each given those chosen before it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np

from flops_fit.errors import StudyError
from flops_fit.recipe.tuning.fit import check_trials, posterior_of
from flops_fit.recipe.tuning.posterior import TOO_BAD, Posterior, Problem, variance
from flops_fit.recipe.tuning.surface import Array
from flops_fit.recipe.tuning.trial import Cell, Trial
from flops_fit.recipe.tuning.tuned import Tuned

FIRST_STEP = 4.0  # factor up and down in the first round
STEP = 2.0  # factor between the values to choose from
REACH = 4.0  # at most this factor beyond what was tried
BEYOND = 10.0  # the targets, where none are given: this factor above the largest cell in both N and D
DRAWS, SEED = 16, 20260
EDGE_WIDTH = 0.25  # of ln value: how sharp the edge of divergence is taken to be


def next_trials(
    trials: Sequence[Trial],
    cells: Sequence[Cell],
    tuned: Sequence[Tuned],
    *,
    count: int = 1,
    targets: Sequence[Cell] = (),
    candidates: Sequence[Trial] | None = None,
    cost: Callable[[Trial], float] | None = None,
) -> tuple[Trial, ...]:
    """The next `count` trials, without a loss; the same whatever the order of `trials`.

    Args:
        trials: what was trained so far, or nothing.
        cells: (N, D) that may be trained at.
        targets: (N, D) where the recipe will be used; by default ten times the largest N and D of `cells`.
        candidates: what to choose from; by default a grid of values by factors of 2 at every cell.
        cost: what a trial costs, in any unit; by default 6 N D.

    Fewer are returned where there are fewer candidates that were not tried. Raises `StudyError`.
    """
    check_trials(trials, tuned)
    if count < 1 or not cells:
        raise StudyError(f"count = {count} and {len(cells)} cells: both must be at least 1")
    places = sorted({(float(N), float(D)) for N, D in cells})
    tried = {_values(trial, tuned) for trial in trials}
    first = [trial for trial in _first_round(places, tuned, candidates) if _values(trial, tuned) not in tried]
    if len(trials) < 1 + 2 * len(tuned) and first:
        return tuple(first[:count])
    aims = [*targets] or [(BEYOND * max(N for N, _ in places), BEYOND * max(D for _, D in places))]
    return _chosen(trials, places, tuned, aims, count, candidates, cost or _flops)


def _flops(trial: Trial) -> float:
    return 6.0 * trial.num_params * trial.num_tokens


def _values(trial: Trial, tuned: Sequence[Tuned]) -> tuple[float, ...]:
    return (*trial.cell, *(round(float(np.log(trial.values[item.name])), 6) for item in tuned))


def _first_round(cells: Sequence[Cell], tuned: Sequence[Tuned], candidates: Sequence[Trial] | None) -> list[Trial]:
    """The guess, and each value up and down, at the cheapest cell; or what comes nearest of `candidates` there."""
    cell = min(cells, key=lambda cell: cell[0] * cell[1])
    guess = {item.name: item.guess for item in tuned}
    points = [guess]
    for item in tuned:
        for value in (item.guess * FIRST_STEP, item.guess / FIRST_STEP):
            points.append({**guess, item.name: float(np.clip(value, item.low, item.high))})
    wanted = [Trial(num_params=cell[0], num_tokens=cell[1], values=point) for point in points]
    if candidates is None:
        return wanted
    offered = [trial for trial in sorted(candidates, key=lambda trial: trial.key) if trial.cell == cell]
    x, sought = (np.array([_values(trial, tuned)[2:] for trial in some]) for some in (offered, wanted))
    nearest = ((x[None] - sought[:, None]) ** 2).sum(-1).argmin(-1) if offered else []
    return [offered[at] for at in dict.fromkeys(nearest)]


def _grid(trials: Sequence[Trial], cells: Sequence[Cell], tuned: Sequence[Tuned]) -> list[Trial]:
    """Values by factors of `STEP` from the guess, within the bounds and not far beyond what was tried."""
    axes = []
    for item in tuned:
        seen = [trial.values[item.name] for trial in trials] or [item.guess]
        low, high = max(item.low, min(seen) / REACH), min(item.high, max(seen) * REACH)
        steps = np.arange(np.ceil(_steps(low / item.guess)), np.floor(_steps(high / item.guess)) + 1)
        axes.append([float(item.guess * STEP**step) for step in steps])
    names = [item.name for item in tuned]
    return [
        Trial(num_params=N, num_tokens=D, values=dict(zip(names, values, strict=True)))
        for N, D in cells
        for values in product(*axes)
    ]


def _steps(factor: float) -> float:
    return float(np.round(np.log(factor) / np.log(STEP), 9))


@dataclass(frozen=True, kw_only=True, eq=False)
class _Pool:
    """Candidates under S draws of the posterior, of which each says what is known and what matters.

    Attributes:
        gradient: (S, n, size) of log loss. noise: (S, n) variance of a trial. chance: (S, n) that it finishes.
        price: (n) cost. matter: (size, r) columns whose squared length under the covariance is the expected excess.
    """

    gradient: Array
    noise: Array
    chance: Array
    price: Array
    matter: Array

    def best_of(self, mine: Array, covariance: Array, longest: int) -> tuple[float, list[int], Array]:
        """Of the candidates `mine`, of one cell: those that gain most per cost together, one after the other.

        A new cell gains nothing by its first trial, of which only the level is learnt, so that single trials would
        never leave the cells that are known. Returns the gain per cost, the candidates, and the covariance after them.
        """
        g, chance, price = self.gradient[:, mine], self.chance[:, mine], self.price[mine]
        spread = g @ covariance
        variance = (spread * g).sum(-1) + self.noise[:, mine]
        lever = spread @ self.matter  # (S, n, r)
        found, total, spent = (-np.inf, list[int](), covariance), 0.0, 0.0
        block: list[int] = []
        for _ in range(min(longest, len(mine))):
            gain = (lever**2).sum(-1) / variance * chance
            score = gain.mean(0) / price
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


def _chosen(
    trials: Sequence[Trial],
    cells: Sequence[Cell],
    tuned: Sequence[Tuned],
    aims: Sequence[Cell],
    count: int,
    candidates: Sequence[Trial] | None,
    cost: Callable[[Trial], float],
) -> tuple[Trial, ...]:
    posterior, problem, origin = posterior_of(trials, tuned, cells)
    known = {_values(trial, tuned) for trial in trials}
    every = _grid(trials, cells, tuned) if candidates is None else sorted(candidates, key=lambda trial: trial.key)
    offered = [trial for trial in every if _values(trial, tuned) not in known]
    levels = sorted({trial.cell for trial in trials} | {*cells})
    level = np.array([levels.index(trial.cell) for trial in offered])
    pool, covariance = _pool(offered, level, posterior, problem, origin, tuned, aims, cost)
    left = np.ones(len(offered), dtype=bool)
    picked: list[int] = []
    while len(picked) < count and left.any():
        each = [np.flatnonzero(left & (level == cell)) for cell in range(len(levels))]
        blocks = [pool.best_of(mine, covariance, 2 + 2 * len(tuned)) for mine in each if len(mine)]
        _, block, covariance = max(blocks, key=lambda found: found[0])
        left[block] = False
        picked += block
    return tuple(offered[at] for at in picked[:count])


def _pool(
    offered: Sequence[Trial],
    level: Array,
    posterior: Posterior,
    problem: Problem,
    origin: Cell,
    tuned: Sequence[Tuned],
    aims: Sequence[Cell],
    cost: Callable[[Trial], float],
) -> tuple[_Pool, Array]:
    """The candidates, and the covariance (S, size, size) of the parameters about each draw."""
    surface = posterior.surface
    normal = np.random.default_rng(SEED).standard_normal((DRAWS, surface.size))
    moved = posterior.theta + normal @ np.linalg.cholesky(posterior.covariance).T
    theta = np.tile(posterior.theta, (DRAWS, 1))
    for name in "mpq":
        theta[:, surface.part(name)] = moved[:, surface.part(name)]
    _, jacobian = problem.residuals(theta, posterior.sigma)
    covariance = np.linalg.inv(np.swapaxes(jacobian, 1, 2) @ jacobian + np.diag(problem.sd**-2.0))
    x = np.log([[trial.values[item.name] for item in tuned] for trial in offered])
    place = np.log([np.divide(trial.cell, origin) for trial in offered])
    excess, gradient, v, _ = surface.with_gradient(theta, x, place, level)
    pool = _Pool(
        gradient=gradient,
        noise=variance(posterior.sigma, excess, v),
        chance=_finishes(v, posterior, problem),
        price=np.array([cost(trial) for trial in offered]),
        matter=_matter(posterior, np.log([np.divide(cell, origin) for cell in aims])),
    )
    return pool, covariance


def _matter(posterior: Posterior, aim: Array) -> Array:
    """(size, 3k) F with expected excess at the targets = trace of F' covariance F; at the most probable parameters."""
    surface, theta = posterior.surface, posterior.theta
    root = surface.turned(theta).T * np.exp(theta[surface.part("log_h")] / 2) / np.sqrt(2)  # (k, k)
    rows = np.column_stack([np.ones(len(aim)), aim])
    weight = np.linalg.cholesky(rows.T @ rows / len(aim) + 1e-9 * np.eye(3))
    matter = np.zeros((surface.size, 3 * surface.count))
    for i, name in enumerate("mpq"):
        matter[surface.part(name)] = np.kron(weight[i], root)
    return matter


def _finishes(v: Array, posterior: Posterior, problem: Problem) -> Array:
    """(S, n) how probably a candidate finishes with a loss that says something, given how far above the best it is."""
    had, surface = problem.evidence, problem.surface
    u = surface.offsets(posterior.theta, had.x, had.place, had.cell)
    tried = u @ surface.turned(posterior.theta).T
    probability = np.ones(v.shape[:-1])
    for at in np.flatnonzero(problem.upward):
        bad = (~had.done | (had.seen > TOO_BAD)) & (tried[:, at] > 0)
        if not bad.any():
            continue
        low = tried[~bad, at].max(initial=-np.inf)
        edge = 0.5 * (min(low, tried[bad, at].min()) + tried[bad, at].min())
        probability *= 1 / (1 + np.exp(np.clip((v[..., at] - edge) / EDGE_WIDTH, -50, 50)))
    return probability
