"""next_trials: which trainings to run next, so that the recipe is expected to lose least where it will be used.

First round: the guess and each tuned value up and down, at the cheapest cell. After that the trials that lower the
expected excess at the targets most for what they cost (see `design.py`), each given those chosen before it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import product

import numpy as np

from flops_fit.errors import StudyError
from flops_fit.recipe.tuning.design import SEED, pool_of
from flops_fit.recipe.tuning.fit import check_trials, posterior_of
from flops_fit.recipe.tuning.trial import Cell, Trial
from flops_fit.recipe.tuning.tuned import Tuned, in_order

FIRST_STEP = 4.0  # factor up and down in the first round
STEPS = (2.0, 2.0, 3.0)  # factor between the values to choose from, by how many are tuned; above that 4
MOST = 1500  # to choose from; of more, which four and more quantities have, these many are drawn
REACH = 4.0  # at most this factor beyond what was tried
BEYOND = 10.0  # the targets, where none are given: this factor above the largest cell in both N and D


def next_trials(
    trials: Sequence[Trial],
    cells: Sequence[Cell],
    tuned: Sequence[Tuned],
    *,
    count: int = 1,
    targets: Sequence[Cell] = (),
    candidates: Sequence[Trial] | None = None,
    trials_left: int | None = None,
    flops_left: float | None = None,
) -> tuple[Trial, ...]:
    """The next `count` trials, without a loss; the same whatever the order of `trials`.

    Args:
        trials: what was trained so far, or nothing.
        cells: (N, D) that may be trained at.
        targets: (N, D) where the recipe will be used; by default ten times the largest N and D of `cells`.
        candidates: what to choose from; by default a grid of values by factors of 2 (3 or 4 for three and more
            quantities) at every cell.
        trials_left, flops_left: what may still be spent, these trials among it. Without either, gain is weighed against
            6 N D; with one or both, against the share of it that a trial takes.

    Fewer are returned, or none, where no more candidates are left that can be paid. Raises `StudyError`.
    """
    check_trials(trials, tuned)
    tuned = in_order(tuned)
    if count < 1 or not cells:
        raise StudyError(f"count = {count} and {len(cells)} cells: both must be at least 1")
    places = sorted({(float(N), float(D)) for N, D in cells})
    count = count if trials_left is None else min(count, trials_left)
    if count < 1:
        return ()
    tried = {_values(trial, tuned) for trial in trials}
    first = [trial for trial in _first_round(places, tuned, candidates) if _values(trial, tuned) not in tried]
    if len(trials) < 1 + 2 * len(tuned) and first:
        return _paid(first[:count], flops_left)
    aims = [*targets] or [(BEYOND * max(N for N, _ in places), BEYOND * max(D for _, D in places))]

    def price(trial: Trial) -> float:
        return _price(trial, trials_left, flops_left)

    return _paid(_chosen(trials, places, tuned, aims, count, candidates, price), flops_left)


def _flops(trial: Trial) -> float:
    return 6.0 * trial.num_params * trial.num_tokens


def _paid(chosen: Sequence[Trial], flops_left: float | None) -> tuple[Trial, ...]:
    """The first of `chosen` that can be paid together."""
    spent = np.cumsum([_flops(trial) for trial in chosen])
    return tuple(chosen) if flops_left is None else tuple(chosen[: int((spent <= flops_left).sum())])


def _price(trial: Trial, trials_left: int | None, flops_left: float | None) -> float:
    """What a trial takes of what is left; infinite where that is too little."""
    flops = _flops(trial)
    if flops_left is not None and flops > flops_left:
        return math.inf
    if trials_left is None:
        return flops / (flops_left or 1.0)
    return 1.0 / trials_left + (flops / flops_left if flops_left else 0.0)


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
    """Values by equal factors from the guess, within the bounds and not far beyond what was tried."""
    axes, factor = [], (*STEPS, 4.0)[min(len(tuned), 4) - 1]
    for item in tuned:
        seen = [trial.values[item.name] for trial in trials] or [item.guess]
        low, high = max(item.low, min(seen) / REACH), min(item.high, max(seen) * REACH)
        least, most = (round(math.log(end / item.guess, factor), 9) for end in (low, high))
        axes.append([item.guess * factor**step for step in range(math.ceil(least), math.floor(most) + 1)])
    names = [item.name for item in tuned]
    return [
        Trial(num_params=N, num_tokens=D, values=dict(zip(names, values, strict=True)))
        for N, D in cells
        for values in product(*axes)
    ]


def _chosen(
    trials: Sequence[Trial],
    cells: Sequence[Cell],
    tuned: Sequence[Tuned],
    targets: Sequence[Cell],
    count: int,
    candidates: Sequence[Trial] | None,
    price: Callable[[Trial], float],
) -> tuple[Trial, ...]:
    every = _grid(trials, cells, tuned) if candidates is None else sorted(candidates, key=lambda trial: trial.key)
    known = {_values(trial, tuned) for trial in trials}
    offered = [trial for trial in every if _values(trial, tuned) not in known and price(trial) < math.inf]
    if not offered:
        return ()
    if candidates is None and len(offered) > MOST:
        kept = np.sort(np.random.default_rng(SEED).choice(len(offered), MOST, replace=False))
        offered = [offered[at] for at in kept]
    levels = sorted({trial.cell for trial in [*trials, *offered]})
    posterior, problem, origin = posterior_of(trials, tuned, levels)
    level = np.array([levels.index(trial.cell) for trial in offered])
    prices = [price(trial) for trial in offered]
    pool = pool_of(offered, level, posterior, problem, origin, tuned, targets, prices)
    return tuple(offered[at] for at in pool.choose(count, level, 2 + 2 * len(tuned)))
