"""Draws of two laws side by side: paired where the laws were fitted together, else independent of each other."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from flops_fit.scaling_law.fitted import FittedLaw
from flops_fit.scaling_law.quantities import PARAMETERS

PAIRS = 4000  # at least, of laws that were fitted apart
SEED = 20


@dataclass(frozen=True, kw_only=True, eq=False)
class Paired:
    """Two laws, and which draw of the one goes with which of the other: `first_index` and `second_index`, (pairs,)."""

    first: FittedLaw
    second: FittedLaw
    first_index: np.ndarray
    second_index: np.ndarray

    @property
    def swapped(self) -> Paired:
        """The same pairs, the other law first."""
        return Paired(
            first=self.second, second=self.first, first_index=self.second_index, second_index=self.first_index
        )

    def of(self, quantity: str, compute: float) -> tuple[np.ndarray, np.ndarray]:
        """Draws of "L_opt" or "N_opt" at C FLOPs, misfit included, (pairs,) of each law."""
        first, second = (law.draws_of(quantity, compute) for law in (self.first, self.second))
        return first[self.first_index], second[self.second_index]


def pair(first: FittedLaw, second: FittedLaw) -> Paired:
    """The pairs of two laws' draws.

    Laws that were fitted together share resamples, whose pairs are their joint error. Laws fitted apart have none in
    common, but draws in an order that the same seed gives both (resamples, misfit), so one by one they would move
    together. They are paired at random, by permutations that are their own inverses: swapped laws give the same pairs.
    """
    if fitted_together(first, second):
        index = np.arange(len(first.draws))
        return Paired(first=first, second=second, first_index=index, second_index=index)
    own, other = len(first.draws), len(second.draws)
    count = max(own, other)
    generator = np.random.default_rng(SEED)
    partners = np.concatenate([_matched(count, generator) for _ in range(-(-PAIRS // count))])
    index = np.tile(np.arange(count), len(partners) // count)
    return Paired(first=first, second=second, first_index=index % own, second_index=partners % other)


def fitted_together(first: FittedLaw, second: FittedLaw) -> bool:
    """Whether both come from one `fit_scaling_law_together`: then what they share is the same in every resample."""
    shared = first.options.get("shared")
    if not shared or shared != second.options.get("shared") or first.draws.shape != second.draws.shape:
        return False
    columns = np.isin(PARAMETERS, shared)
    return np.array_equal(first.draws[:, columns], second.draws[:, columns], equal_nan=True)


def share_below(first: np.ndarray, second: np.ndarray) -> float:
    """Share of pairs in which the first is below the second, ties halved, pairs without numbers left out."""
    known = ~(np.isnan(first) | np.isnan(second))
    below = (first < second) + 0.5 * (first == second)
    return float(below[known].mean()) if known.any() else 0.5


def _matched(count: int, generator: np.random.Generator) -> np.ndarray:
    """Of each of `count` a partner, drawn at random, whose partner it is."""
    order = generator.permutation(count)
    partner = np.empty(count, dtype=int)
    partner[order] = order[::-1]
    return partner
