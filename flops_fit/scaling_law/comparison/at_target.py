"""What two laws say of one compute."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from flops_fit.scaling_law.comparison.multiplier import Multiplier, multiplier
from flops_fit.scaling_law.comparison.paired import Paired, share_below
from flops_fit.scaling_law.comparison.speed import Speed, time_multiplier
from flops_fit.scaling_law.fitting.uncertainty import percentile_interval

SURE = 0.975  # of one side: then the 95 % interval of the difference leaves out zero
Interval = tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class AtTarget:
    """Two laws at one compute; pairs of values are of the first and of the second law, intervals are of 90 %.

    Attributes:
        compute: FLOPs.
        losses, loss_intervals: at each law's own optimum.
        loss_ratio, loss_ratio_interval: the second's over the first's, joint.
        probability: that the first has the lower loss, joint, misfit included.
        multipliers: of the compute, what the second needs to reach the first's loss at `compute`, and the other way
            round; reciprocal only where the curves lie equally far apart at all compute.
        sizes, size_intervals: N_opt.
        size_ratio_interval: the second's N_opt over the first's, joint.
        beyond: `compute` over the largest run of each.
        time_multipliers: as `multipliers`, in time on the device that both laws' runs were trained on; None where that
            is not known.
    """

    compute: float
    losses: tuple[float, float]
    loss_intervals: tuple[Interval, Interval]
    loss_ratio: float
    loss_ratio_interval: Interval
    probability: float
    multipliers: tuple[Multiplier, Multiplier]
    sizes: tuple[float, float]
    size_intervals: tuple[Interval, Interval]
    size_ratio_interval: Interval
    beyond: tuple[float, float]
    time_multipliers: tuple[Multiplier, Multiplier] | None = None

    @property
    def better(self) -> int:
        """0 or 1: the law that is the better one with the higher probability."""
        return 0 if self.probability >= 0.5 else 1

    @property
    def sure(self) -> float:
        """The probability that `better` is."""
        return max(self.probability, 1 - self.probability)

    @property
    def told_apart(self) -> bool:
        """Whether the 95 % interval of the difference leaves out zero: `sure` of at least 0.975, so that two studies of
        one recipe are told apart in one case of twenty."""
        return self.sure >= SURE

    @property
    def optima_differ(self) -> bool:
        """Whether the 90 % interval of the ratio of N_opt leaves out 1."""
        low, high = self.size_ratio_interval
        return not low <= 1 <= high

    @property
    def looser(self) -> int:
        """0 or 1: the law whose loss has the wider interval."""
        widths = [(high - low) / loss for (low, high), loss in zip(self.loss_intervals, self.losses, strict=True)]
        return int(np.argmax(widths))


def at_target(pairs: Paired, compute: float, speeds: tuple[Speed, Speed] | None = None) -> AtTarget:
    """The two laws of `pairs` at C FLOPs, in time too where the `speeds` of both are known."""
    laws = pairs.first, pairs.second
    losses, sizes = (pairs.of(name, compute) for name in ("L_opt", "N_opt"))
    with np.errstate(all="ignore"):  # of draws that ran away
        loss_ratio, size_ratio = (second / first for first, second in (losses, sizes))
    needed = multiplier(pairs, compute), multiplier(pairs.swapped, compute)
    in_time = None
    if speeds is not None:
        in_time = (
            time_multiplier(compute, needed[0], laws, speeds),
            time_multiplier(compute, needed[1], laws[::-1], speeds[::-1]),
        )
    return AtTarget(
        compute=compute,
        losses=(laws[0].L_opt(compute), laws[1].L_opt(compute)),
        loss_intervals=(laws[0].interval("L_opt", compute), laws[1].interval("L_opt", compute)),
        loss_ratio=laws[1].L_opt(compute) / laws[0].L_opt(compute),
        loss_ratio_interval=percentile_interval(loss_ratio, 0.9),
        probability=share_below(*losses),
        multipliers=needed,
        sizes=(laws[0].N_opt(compute), laws[1].N_opt(compute)),
        size_intervals=(laws[0].interval("N_opt", compute), laws[1].interval("N_opt", compute)),
        size_ratio_interval=percentile_interval(size_ratio, 0.9),
        beyond=(compute / float(laws[0].runs.flops.max()), compute / float(laws[1].runs.flops.max())),
        time_multipliers=in_time,
    )
