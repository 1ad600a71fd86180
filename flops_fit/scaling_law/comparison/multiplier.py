"""How much more compute one law needs to reach the loss of another."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from flops_fit.errors import FitError
from flops_fit.scaling_law.answers import compute_for_loss
from flops_fit.scaling_law.comparison.paired import Paired
from flops_fit.scaling_law.fitting.uncertainty import percentile_interval
from flops_fit.scaling_law.quantities import MOST_COMPUTE

MANY = 1000  # a multiple beyond which its number says no more
REACH = np.log(1000.0)  # in ln C to either side of the estimate: further off is as good as never
STEPS = REACH * np.sinh(np.linspace(-4, 4, 41)) / np.sinh(4)  # 5 % apart in the middle


@dataclass(frozen=True, kw_only=True)
class Multiplier:
    """Compute that the other law needs to reach this one's loss, as a multiple of what this one needs: the estimate,
    and its 90 % interval. Infinite where no compute reaches it; an end of the interval also where that lies a factor
    1,000 from the estimate."""

    value: float
    low: float
    high: float

    def words(self, times: str = "times the compute", never: str = "no amount of compute") -> str:
        """`1.34 times the compute (1.08 to 1.71)`, the interval in brackets; what is never reached is said."""
        least = f"{_times(self.low)} times" if self.low >= MANY else f"at least {_times(self.low)} times"
        low = "" if np.isinf(self.low) else f" ({least}, perhaps never)"
        if np.isinf(self.value):
            return f"{never}{low}"
        if self.value < 1 / MANY:  # and its interval is not looked for so far off
            return f"less than {1 / MANY:g} {times}"
        if np.isfinite(self.high):
            low = f" ({_between(self.low, self.high)})"
        return f"{_times(self.value)} {times}{low}"

    def in_time(self) -> str:
        """`1.34 times as long (1.08 to 1.71)`."""
        return self.words("times as long", "no amount of time")


def multiplier(pairs: Paired, compute: float, *, level: float = 0.9) -> Multiplier:
    """What the second law needs to reach the first's loss at C FLOPs, over C: from the curves, and from each pair."""
    value = _of_curves(pairs, compute)
    centre = value if abs(np.log(value)) < REACH else 1.0
    low, high = percentile_interval(_of_pairs(pairs, compute, centre), level)
    return Multiplier(value=value, low=low, high=high)


def _of_curves(pairs: Paired, compute: float) -> float:
    try:
        return compute_for_loss(pairs.second, pairs.first.L_opt(compute)) / compute
    except FitError:  # out of reach
        return float("inf")


def _of_pairs(pairs: Paired, compute: float, centre: float) -> np.ndarray:
    """The multiplier of each pair, (pairs,): where the second's curve, drawn, first comes down to the first's loss."""
    multiples = centre * np.exp(STEPS)
    multiples = multiples[multiples * compute <= MOST_COMPUTE]
    with np.errstate(all="ignore"):
        wanted = np.log(pairs.first.draws_of("L_opt", compute)[pairs.first_index])
        drawn = [np.log(pairs.second.draws_of("L_opt", multiple * compute)) for multiple in multiples]
        losses = np.stack(drawn)[:, pairs.second_index]  # (multiples, pairs)
        there = losses <= wanted
        after = np.maximum(there.argmax(axis=0), 1)
        above, below = (np.take_along_axis(losses, row[None], axis=0)[0] for row in (after - 1, after))
        share = np.clip((above - wanted) / (above - below), 0, 1)
        logs = np.log(multiples)
        found = np.exp(logs[after - 1] + share * (logs[after] - logs[after - 1]))
    found = np.where(there[0], multiples[0], found)
    return np.where(there.any(axis=0), found, np.where(np.isnan(wanted), np.nan, np.inf))


def _between(low: float, high: float) -> str:
    """An interval; of one that lies beyond `MANY` whole, its end says no more than its beginning."""
    return _times(low) if low >= MANY else f"{_times(low)} to {_times(high)}"


def _times(value: float) -> str:
    if value >= MANY:
        return f"more than {MANY:,}"
    return f"{value:.2f}" if 0.1 <= value < 99.5 else f"{value:.0f}" if value >= 99.5 else f"{value:.2g}"
