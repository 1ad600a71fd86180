"""Sizes that hardware likes: multiples of a number, or powers of two."""

from __future__ import annotations

import math
from typing import Any

from flops_fit.basics.arguments import Rule, whole

POWERS_OF_TWO = "powers of two"
_SPELLINGS = {"powers of two", "power of two", "powers of 2", "power of 2"}

Multiple = int | str

MULTIPLE = whole() | Rule(
    lambda value: isinstance(value, str) and value in _SPELLINGS, f'such as 64, or "{POWERS_OF_TWO}"'
)


def plain_multiple(multiple: Any) -> Multiple | None:
    """`multiple` in the one way that it is kept; None for 1, which allows every size."""
    if isinstance(multiple, str):
        return POWERS_OF_TWO
    return None if multiple is None or multiple == 1 else int(multiple)


def is_allowed(size: int, multiple: Multiple | None) -> bool:
    """Whether `size` is such a multiple."""
    if multiple == POWERS_OF_TWO:
        return size.bit_count() == 1
    return multiple is None or size % int(multiple) == 0


def first_allowed(least: int, multiple: Multiple) -> int:
    """The smallest such multiple of at least `least`."""
    if multiple == POWERS_OF_TWO:
        return 1 << (least - 1).bit_length()
    return math.ceil(least / int(multiple)) * int(multiple)


def in_words(multiple: Multiple) -> str:
    """`"multiples of 64"`."""
    return POWERS_OF_TWO if multiple == POWERS_OF_TWO else f"multiples of {multiple}"


def finer(multiple: Multiple, most: float) -> int | None:
    """The largest multiple below `multiple` that allows all of its sizes and is not above `most`; None where 1 is."""
    if multiple == POWERS_OF_TWO:
        return 1 << int(math.log2(most)) if most >= 2 else None
    found = [part for part in range(2, int(multiple)) if int(multiple) % part == 0 and part <= most]
    return max(found, default=None)
