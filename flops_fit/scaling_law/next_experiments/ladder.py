"""The ladder: how many sizes are trained at which levels of compute, as far up as the FLOPs reach.

Levels lie a factor 2 or so apart. The top is a single run next to the optimum. From a quarter of its compute down come
three sizes and more, growing as the root of how much cheaper a level is, up to five: cheap levels, which cost next to
nothing, show how the optimum moves, and the top, where most FLOPs go, how far the loss has fallen. It is the highest
level that can be paid for so; what is left over adds runs everywhere. On real laws, which bend, the nearness of the
top to the target counts most (`benchmarks/adaptive.md`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from flops_fit.scaling_law.next_experiments.candidate import Points

WIDTH = float(np.log(1.9))  # of a level, in ln C
GAP = 4.0  # factor in compute from the top to the next level that is trained,
SECOND = 3.0  # sizes there, and
GROWTH = 0.5  # the power at which they grow with how much cheaper a level is
MOST_SIZES = 5
FIRST_SIZES = 3
DENSITIES = np.arange(1.0, MOST_SIZES + 0.1, 0.25)  # runs at the top, and how many times as many as needed elsewhere
SIDES = {1: 0.0, 2: float(np.log(2)), 3: float(np.log(2.5))}  # of the optimum, in ln N, by the sizes of a level
FAR_SIDES = float(np.log(4))  # where it has more
TOO_FAR = 2.0  # from where a size is wanted, in ln N and ln C, that another is no replacement


@dataclass(frozen=True, kw_only=True, eq=False)
class Known:
    """What may still be trained, and what is trained or planned; distances are `ln(N/N_opt)`, (points,) each."""

    open_: Points
    open_distance: np.ndarray
    done: Points
    done_distance: np.ndarray


def rungs(known: Known, total: float) -> list[int]:
    """Indices into `open_` of what the ladder of `total` FLOPs (what is spent included) lacks.

    In order: up to three sizes of each level from the bottom up, which show the law; the top; and the rest from the top
    down. Of a ladder that lacks nothing, what else can be paid for about the optimum, the largest first.
    """
    if not len(known.open_):
        return []
    left = total - float(known.done.C.sum())
    plan = _Levels.of(known)
    top = _top(known, plan, left)
    if top is None:
        return []
    dense, denser = 0, len(DENSITIES)  # the last that can be paid for, and the first that cannot
    while denser - dense > 1:
        middle = (dense + denser) // 2
        paid = _paid(known, plan, top, DENSITIES[middle], left) is not None
        dense, denser = (middle, denser) if paid else (dense, middle)
    lacking = _paid(known, plan, top, DENSITIES[dense], left) or []
    further = [index for index in _lacking(known, plan, top, DENSITIES[dense], 1.0) if index not in lacking]
    for index in further:  # between the top and the next level, from what is left over
        if float(known.open_.C[[*lacking, index]].sum()) <= left:
            lacking.append(index)
    return sorted(lacking, key=_climb(plan, lacking)) if lacking else _more(known, plan, left)


def climbed(known: Known, total: float) -> bool:
    """Whether the highest level that the ladder of `total` FLOPs (what is spent included) reaches has a run."""
    if not len(known.open_):
        return True
    plan = _Levels.of(known)
    top = _top(known, plan, total - float(known.done.C.sum()))
    return top is None or bool((plan.theirs <= top).any())


@dataclass(frozen=True, kw_only=True, eq=False)
class _Levels:
    """The level of each open and each done experiment, 0 at the top, and the median compute of each level."""

    mine: np.ndarray
    theirs: np.ndarray
    middles: list[float]

    @classmethod
    def of(cls, known: Known) -> _Levels:
        compute = np.concatenate([known.open_.C, known.done.C])
        level = levels(compute)
        middles = [float(np.median(compute[level == here])) for here in range(level.max() + 1)]
        return cls(mine=level[: len(known.open_)], theirs=level[len(known.open_) :], middles=middles)


def _top(known: Known, plan: _Levels, left: float) -> int | None:
    """The highest level that can be paid for with all that the ladder wants below it."""
    return next((top for top in range(len(plan.middles)) if _paid(known, plan, top, 1.0, left) is not None), None)


def _paid(known: Known, plan: _Levels, top: int, density: float, left: float) -> list[int] | None:
    """What the ladder from `top` down lacks; None where it costs more than is left."""
    lacking = _lacking(known, plan, top, density, GAP)
    return lacking if float(known.open_.C[lacking].sum()) <= left else None


def _more(known: Known, plan: _Levels, left: float) -> list[int]:
    """What can be paid for together within `FAR_SIDES` of the optimum: the highest level first, the nearest first."""
    away = np.abs(known.open_distance)
    near = np.flatnonzero(away <= FAR_SIDES + 1e-9)
    chosen: list[int] = []
    for index in near[np.lexsort((away[near], plan.mine[near]))].tolist():
        if float(known.open_.C[[*chosen, index]].sum()) <= left:
            chosen.append(index)
    return chosen


def _climb(plan: _Levels, lacking: list[int]) -> Callable[[int], tuple[int, int]]:
    """Up to three runs of each level come first, from the bottom up; then the rest from the top down, so that whoever
    stops before the end has spent on what teaches most."""
    count = {int(level): int((plan.theirs == level).sum()) for level in set(plan.mine[lacking].tolist())}
    further = {}
    for index in lacking:
        level = int(plan.mine[index])
        further[index] = int(count[level] >= FIRST_SIZES)
        count[level] += 1
    return lambda index: (further[index], int(plan.mine[index]) * (1 if further[index] else -1))


def levels(compute: np.ndarray) -> np.ndarray:
    """The level of each, (points,), 0 at the top: cut so that none is wider than `WIDTH`."""
    order = np.argsort(-compute, kind="stable")
    level, top, found = 0, float(compute[order[0]]), np.zeros(len(compute), dtype=int)
    for index in order:
        if np.log(top / compute[index]) > WIDTH:
            level, top = level + 1, float(compute[index])
        found[index] = level
    return found


def _lacking(known: Known, plan: _Levels, top: int, density: float, gap: float) -> list[int]:
    """What the levels from `top` down lack, where the top has `density` runs; the lowest level first."""
    found: list[int] = []
    low = plan.middles[top] / plan.middles[-1] < GAP**2  # a ladder this low needs every level
    for level in range(len(plan.middles) - 1, top - 1, -1):
        count = _wanted(plan.middles[top] / plan.middles[level], density, 1.0 if low else gap)
        there = known.done_distance[plan.theirs == level]
        inside = np.flatnonzero(plan.mine == level)
        away = np.abs(np.log(known.open_.C[inside] / _budget(known, plan, level)))
        found += _sizes(inside, known.open_distance[inside], away, there, count)
    return found


def _wanted(cheaper: float, density: float, gap: float) -> int:
    """Sizes of a level that is so many times `cheaper` than the top."""
    if cheaper == 1:
        return int(min(MOST_SIZES, density))
    if cheaper < 0.95 * gap:
        return 0
    return int(min(MOST_SIZES, max(1, round(density * SECOND * (cheaper / GAP) ** GROWTH))))


def _budget(known: Known, plan: _Levels, level: int) -> float:
    """The FLOPs that a level's curve is at: those that it was begun with, else the middle of what there is."""
    begun = known.done.C[plan.theirs == level]
    inside = np.sort(begun if len(begun) else known.open_.C[plan.mine == level])
    return float(inside[len(inside) // 2]) if len(inside) else 1.0


def _sizes(inside: np.ndarray, distance: np.ndarray, away: np.ndarray, there: np.ndarray, count: int) -> list[int]:
    """Indices of the sizes that a level lacks of `count` spread about the optimum; what is `there` takes the places
    that it is nearest to."""
    side = SIDES.get(count, FAR_SIDES)
    places = np.linspace(-side, side, count).tolist() if count > 1 else [0.0] * count
    for own in there[np.argsort(np.abs(there))]:
        if places:
            places.remove(min(places, key=lambda place: abs(place - own)))
    chosen: list[int] = []
    for place in _outside_in(places):
        gap = np.abs(distance - place) + away
        gap[np.isin(inside, chosen)] = np.inf
        if len(gap) and gap.min() < TOO_FAR:
            chosen.append(int(inside[np.argmin(gap)]))
    return chosen


def _outside_in(places: list[float]) -> list[float]:
    """The one next to the optimum, the two furthest from it, then the rest: three are a curve already."""
    order = sorted(places, key=abs)
    return [*order[:1], *order[:0:-1]]
