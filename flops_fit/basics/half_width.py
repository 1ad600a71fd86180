"""Half of an interval's width, in logarithms."""

from __future__ import annotations

import math


def half_width(low: float, high: float) -> float:
    """`ln(high / low) / 2`: 0.1 is about 10 % either way. Infinite where an end is infinite or not above 0."""
    return math.log(high / low) / 2 if 0 < low <= high < math.inf else math.inf
