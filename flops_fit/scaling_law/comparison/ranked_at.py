"""What several laws say of one compute: how likely each is the best of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from flops_fit.scaling_law.comparison.at_target import SURE, Interval
from flops_fit.scaling_law.comparison.multiplier import Multiplier, multiplier
from flops_fit.scaling_law.comparison.paired import fitted_together, pair, share_below
from flops_fit.scaling_law.comparison.speed import Speed, time_multiplier
from flops_fit.scaling_law.fitted import FittedLaw


@dataclass(frozen=True, kw_only=True)
class RankedAt:
    """Several laws at one compute; tuples have a value for each law, intervals are of 90 %.

    Attributes:
        compute: FLOPs.
        losses, loss_intervals: at each law's own optimum.
        probabilities: that the law has the lowest loss of all, joint, misfit included; they add up to 1.
        best: the place of the law with the highest probability.
        multipliers: of the compute, what each needs to reach the loss of the best at `compute`; None for the best.
        time_multipliers: the same in time; None for all where that is not known.
        sizes, size_intervals: N_opt.
    """

    compute: float
    losses: tuple[float, ...]
    loss_intervals: tuple[Interval, ...]
    probabilities: tuple[float, ...]
    best: int
    multipliers: tuple[Multiplier | None, ...]
    time_multipliers: tuple[Multiplier | None, ...]
    sizes: tuple[float, ...]
    size_intervals: tuple[Interval, ...]

    @property
    def sure(self) -> float:
        """The probability that `best` is."""
        return self.probabilities[self.best]

    @property
    def told_apart(self) -> bool:
        """Whether the best one is told apart from all others, as `AtTarget.told_apart` of two."""
        return self.sure >= SURE

    @property
    def rivals(self) -> list[int]:
        """Places of the others that may well be the best, the likeliest first."""
        others = [place for place in range(len(self.losses)) if place != self.best]
        others.sort(key=lambda place: (-self.probabilities[place], self.losses[place]))
        likely = [place for place in others if self.probabilities[place] > 1 - SURE]
        return likely if likely or self.told_apart else others[:1]


def ranked_at(laws: Sequence[FittedLaw], compute: float, speeds: Sequence[Speed] = ()) -> RankedAt:
    """`laws` at C FLOPs, in time too where the `speeds` of all are known."""
    chances = probabilities([law.draws_of("L_opt", compute) for law in laws], laws, compute)
    losses = [float(law.L_opt(compute)) for law in laws]
    best = min(range(len(laws)), key=lambda place: (-chances[place], losses[place]))
    needed: list[Multiplier | None] = []
    in_time: list[Multiplier | None] = []
    for place, law in enumerate(laws):
        found = None if place == best else multiplier(pair(laws[best], law), compute)
        needed.append(found)
        if found is None or not speeds:
            in_time.append(None)
        else:
            in_time.append(time_multiplier(compute, found, (laws[best], law), (speeds[best], speeds[place])))
    return RankedAt(
        compute=compute,
        losses=tuple(losses),
        loss_intervals=tuple(law.interval("L_opt", compute) for law in laws),
        probabilities=tuple(chances),
        best=best,
        multipliers=tuple(needed),
        time_multipliers=tuple(in_time),
        sizes=tuple(float(law.N_opt(compute)) for law in laws),
        size_intervals=tuple(law.interval("N_opt", compute) for law in laws),
    )


def probabilities(draws: Sequence[np.ndarray], laws: Sequence[FittedLaw], compute: float) -> list[float]:
    """How often each of several losses is the lowest, of `draws` of the laws at C FLOPs.

    Of two laws as `compare_laws` has it; of laws fitted together draw by draw; else over all combinations of draws.
    """
    if len(laws) == 2:
        first = share_below(*pair(*laws).of("L_opt", compute))
        return [first, 1 - first]
    if all(fitted_together(*both) for both in pairwise(laws)):
        table = np.stack([np.where(np.isnan(each), np.inf, each) for each in draws])
        lowest = table == table.min(axis=0)
        return [float(share) for share in (lowest / lowest.sum(axis=0)).mean(axis=1)]
    return independent_probabilities(draws)


def independent_probabilities(draws: Sequence[np.ndarray]) -> list[float]:
    """How often each is the lowest when every draw of one may meet every draw of the others, ties shared.

    The mean over the draws of one of the product of the shares of the others' draws that lie above it: exact, and the
    same in any order. Draws without a number are left out.
    """
    known = [np.sort(each[~np.isnan(each)]) for each in draws]
    if not all(len(each) for each in known):
        return [1 / len(draws)] * len(draws)
    found = []
    for place, own in enumerate(known):
        above = [_share_above(own, other) for at, other in enumerate(known) if at != place]
        found.append(float(np.prod(above, axis=0).mean()))
    total = sum(found)
    return [share / total for share in found] if total > 0 else [1 / len(draws)] * len(draws)


def _share_above(values: np.ndarray, other: np.ndarray) -> np.ndarray:
    left, right = (np.searchsorted(other, values, side=side) for side in ("left", "right"))
    share: np.ndarray = 1 - (left + right) / 2 / len(other)
    return share
