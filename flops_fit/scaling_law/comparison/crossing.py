"""Where the loss curves of two laws cross."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from scipy.optimize import brentq

from flops_fit.scaling_law.comparison.paired import Paired, share_below

POINTS = 200


@dataclass(frozen=True, kw_only=True)
class Crossing:
    """Where the predicted losses at the optimum are equal.

    Attributes:
        compute: FLOPs.
        better_below, better_above: names of the laws.
        beyond_runs: whether it lies beyond the largest run of either.
        probability: joint, that the one is better at the middle (in ln C) of what lies below, as far as the next
            crossing or the end of what was looked at, and the other at the middle of what lies above.
    """

    compute: float
    better_below: str
    better_above: str
    beyond_runs: bool
    probability: float


def crossings(pairs: Paired, names: tuple[str, str], furthest: float) -> tuple[Crossing, ...]:
    """All crossings from the smallest run to `furthest` FLOPs, ascending."""
    laws = pairs.first, pairs.second
    lowest = min(float(law.runs.flops.min()) for law in laws)
    largest = max(float(law.runs.flops.max()) for law in laws)
    ends = np.log(lowest), np.log(furthest)

    def gap(x: float) -> float:
        return float(np.log(laws[0].L_opt(np.exp(x)) / laws[1].L_opt(np.exp(x))))

    grid = np.linspace(*ends, POINTS)
    gaps = np.log(laws[0].L_opt(np.exp(grid)) / laws[1].L_opt(np.exp(grid)))
    turns = np.flatnonzero(np.sign(gaps[:-1]) * np.sign(gaps[1:]) < 0)
    roots = [float(brentq(gap, grid[at], grid[at + 1], xtol=1e-10)) for at in turns]
    middles = [(low + high) / 2 for low, high in pairwise([ends[0], *roots, ends[1]])]
    found = []
    for at, root in enumerate(roots):
        first_below = gaps[turns[at]] < 0
        below, above = names if first_below else names[::-1]
        order = pairs if first_below else pairs.swapped
        found.append(
            Crossing(
                compute=float(np.exp(root)),
                better_below=below,
                better_above=above,
                beyond_runs=bool(np.exp(root) > largest),
                probability=_both(order, float(np.exp(middles[at])), float(np.exp(middles[at + 1]))),
            )
        )
    return tuple(found)


def _both(pairs: Paired, below: float, above: float) -> float:
    """Probability that the first is better at `below` and the second at `above` FLOPs."""
    gaps = [np.subtract(*pairs.of("L_opt", compute)) for compute in (below, above)]
    return share_below(np.maximum(gaps[0], -gaps[1]), np.zeros(len(gaps[0])))
