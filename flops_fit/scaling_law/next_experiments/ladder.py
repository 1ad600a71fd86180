"""The ladder: levels of compute half a decade apart from the cheapest up, three sizes each about the optimum."""

from __future__ import annotations

import numpy as np

from flops_fit.scaling_law.next_experiments.candidate import Points

STEP = np.log(10) / 2  # in ln C, from level to level
SIDES = np.log(np.array([1.0, 1 / 2.5, 2.5]))  # of the optimum, in ln N


def next_rung(open_: Points, known: Points, distance_open: np.ndarray, distance_known: np.ndarray) -> int | None:
    """The index in `open_` (what may be trained and paid for) of the next rung; None where there is nothing.

    The level of the largest compute so far until it has three runs, then the one above; once at the top, what is
    nearest to the optimum, the largest first. Distances are `ln(N/N_opt)`.
    """
    if not len(open_):
        return None
    both = np.concatenate([open_.C, known.C])
    level = np.round(np.log(both / both.min()) / STEP).astype(int)
    mine, theirs = level[: len(open_)], level[len(open_) :]
    start = int(theirs.max()) if len(known) else int(mine.min())
    for here in sorted(set(mine.tolist())):
        filled = distance_known[theirs == here]
        if here >= start and len(filled) < len(SIDES):
            inside = np.flatnonzero(mine == here)
            away = _gap(distance_open[inside], filled) + _off_budget(open_.C[inside], known.C[theirs == here])
            return int(inside[np.argmin(away)])
    return int(np.argmin(np.abs(distance_open) - mine))


def _off_budget(compute: np.ndarray, begun: np.ndarray) -> np.ndarray:
    """What counts against a candidate of another budget than the level was begun with: a curve needs one budget."""
    if not len(begun):
        return np.log(compute.max() / compute)
    return np.minimum(np.abs(np.log(compute / np.median(begun))), 1.0)


def _gap(distance: np.ndarray, filled: np.ndarray) -> np.ndarray:
    """How far each candidate is from the first side of the optimum that no run of the level is near."""
    free = [side for side in SIDES if not len(filled) or np.abs(filled - side).min() > np.log(1.6)]
    return np.abs(distance - (free[0] if free else 0.0))
