"""What is varied from law to law, such as the width of an embedding: whether its best value lies among those tried."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from flops_fit.basics.arguments import is_number


@dataclass(frozen=True, kw_only=True)
class Axis:
    """What is varied, and the value of each law, in the laws' order."""

    name: str
    values: Sequence[Any]

    @property
    def is_ordered(self) -> bool:
        """Whether the values are numbers, so that one lies between others."""
        return all(is_number(value) for value in self.values)

    @property
    def order(self) -> list[int]:
        """Places of the values from the least to the greatest; as given where they have no order."""
        places = range(len(self.values))
        return sorted(places, key=lambda place: self.values[place]) if self.is_ordered else list(places)

    def is_edge(self, place: int) -> bool:
        """Whether the value at `place` is the least or the greatest."""
        return place in (self.order[0], self.order[-1])

    def beyond(self, place: int) -> float | int | None:
        """A value to try beyond the one at `place`, which is at the edge: as far from it as the next one inside; None
        where that would be below zero, or no whole number above it, and the others are not."""
        order = self.order if place == self.order[-1] else self.order[::-1]
        last, before = self.values[order[-1]], self.values[order[-2]]
        further = last * last / before if last > 0 and before > 0 else last + (last - before)
        if min(self.values) >= 0 and further < 0:
            return None
        if not all(isinstance(value, int) for value in self.values):
            return float(f"{further:.3g}")
        whole = round(further)
        return None if whole == last or (last > 0 and whole < 1) else whole

    def steps(self) -> bool:
        """Whether values are spread by factors rather than by differences."""
        return self.is_ordered and min(self.values) > 0 and max(self.values) > 4 * min(self.values)
