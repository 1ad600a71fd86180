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
from flops_fit.recipe.tuning.posterior import FORM_ERROR, TOO_BAD, Posterior, Problem
from flops_fit.recipe.tuning.surface import Array
from flops_fit.recipe.tuning.trial import Cell, Trial
from flops_fit.recipe.tuning.tuned import Tuned

FIRST_STEP = 4.0  # factor up and down in the first round
STEP = 2.0**0.5  # factor between the values to choose from
REACH = 4.0  # at most this factor beyond what was tried
BEYOND = 10.0  # the targets, where none are given: this factor above the largest cell in both N and D
DRAWS, SEED = 24, 20260
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
        candidates: what to choose from; by default a grid of values by factors of sqrt(2) at every cell.
        cost: what a trial costs, in any unit; by default 6 N D.

    Fewer are returned where there are fewer candidates that were not tried. Raises `StudyError`.
    """
    check_trials(trials, tuned)
    if count < 1 or not cells:
        raise StudyError(f"count = {count} and {len(cells)} cells: both must be at least 1")
    places = sorted({(float(N), float(D)) for N, D in cells})
    first = _first_round(places, tuned)
    if len(trials) < len(first) and candidates is None:
        tried = {_values(trial, tuned) for trial in trials}
        return tuple(trial for trial in first if _values(trial, tuned) not in tried)[:count]
    aims = [*targets] or [(BEYOND * max(N for N, _ in places), BEYOND * max(D for _, D in places))]
    return _chosen(trials, places, tuned, aims, count, candidates, cost or _flops)


def _flops(trial: Trial) -> float:
    return 6.0 * trial.num_params * trial.num_tokens


def _values(trial: Trial, tuned: Sequence[Tuned]) -> tuple[float, ...]:
    return (*trial.cell, *(round(float(np.log(trial.values[item.name])), 6) for item in tuned))


def _first_round(cells: Sequence[Cell], tuned: Sequence[Tuned]) -> list[Trial]:
    """The guess, and each value up and down, at the cheapest cell."""
    cell = min(cells, key=lambda cell: cell[0] * cell[1])
    guess = {item.name: item.guess for item in tuned}
    points = [guess]
    for item in tuned:
        for value in (item.guess * FIRST_STEP, item.guess / FIRST_STEP):
            points.append({**guess, item.name: float(np.clip(value, item.low, item.high))})
    return [Trial(num_params=cell[0], num_tokens=cell[1], values=point) for point in points]


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
class _Design:
    """Draws of the posterior: `theta` (S, size), `covariance` (S, size, size) there, `loss` (S, size, size) of which
    half the trace with the covariance is the expected excess at the targets."""

    theta: Array
    covariance: Array
    matter: Array


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
    pool = [trial for trial in every if _values(trial, tuned) not in known]
    if not pool:
        return ()
    levels = sorted({trial.cell for trial in trials} | {*cells})
    x = np.log([[trial.values[item.name] for item in tuned] for trial in pool])
    place = np.log([np.divide(trial.cell, origin) for trial in pool])
    level = np.array([levels.index(trial.cell) for trial in pool])
    aim = np.log([np.divide(cell, origin) for cell in aims])
    design = _design(posterior, problem, aim)
    excess, gradient, v, _ = posterior.surface.with_gradient(design.theta, x, place, level)
    noise = posterior.sigma**2 + (FORM_ERROR * excess) ** 2
    useful = _finishes(v, posterior, problem) / np.array([cost(trial) for trial in pool])
    picked: list[int] = []
    covariance = design.covariance
    for _ in range(min(count, len(pool))):
        spread = gradient @ covariance  # (S, n, size)
        variance = np.einsum("snp,snp->sn", spread, gradient) + noise
        gain = 0.5 * np.einsum("snp,spr,snr->sn", spread, design.matter, spread, optimize=True) / variance
        score = (gain * useful).mean(0)
        score[picked] = -np.inf
        best = int(score.argmax())
        picked.append(best)
        column = spread[:, best]
        covariance = covariance - column[:, :, None] * column[:, None, :] / variance[:, best, None, None]
    return tuple(pool[at] for at in picked)


def _design(posterior: Posterior, problem: Problem, aim: Array) -> _Design:
    """Draws about the most probable parameters, with what the trials say at each."""
    surface = posterior.surface
    normal = np.random.default_rng(SEED).standard_normal((DRAWS, surface.size))
    theta = posterior.theta + normal @ np.linalg.cholesky(posterior.covariance).T
    theta[:, : surface.cells] = posterior.theta[: surface.cells]
    for name in ("log_h", "skew", "c"):
        theta[:, surface.part(name)] = posterior.theta[surface.part(name)]
    _, jacobian = problem.residuals(theta, posterior.sigma)
    # what a trial says is the same whether or not this draw explains it: weights as if it did
    information = np.swapaxes(jacobian, 1, 2) @ jacobian + np.diag(problem.sd**-2.0)
    h = np.exp(theta[:, surface.part("log_h")])
    turned = surface.turned(theta)
    bend = np.einsum("sji,sj,sjk->sik", turned, h, turned)
    matter = np.zeros((DRAWS, surface.size, surface.size))
    rows = np.column_stack([np.ones(len(aim)), aim])
    weight = rows.T @ rows / len(aim)
    for i, one in enumerate("mpq"):
        for j, other in enumerate("mpq"):
            matter[:, surface.part(one), surface.part(other)] = bend * weight[i, j]
    return _Design(theta=theta, covariance=np.linalg.inv(information), matter=matter)


def _finishes(v: Array, posterior: Posterior, problem: Problem) -> Array:
    """(S, n) how probably a candidate finishes with a loss that says something, given how far above the best it is."""
    had, surface = problem.evidence, problem.surface
    u = surface.offsets(posterior.theta, had.x, had.place)
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
