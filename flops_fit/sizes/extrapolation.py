"""Counts of sizes too large to build, from a polynomial that reproduces every size that was built."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

from flops_fit.sizes.counting import Probe

MAX_DEGREE = 4


def extrapolate(built: Sequence[Probe], size: int) -> Probe | None:
    """The counts at `size`; None where no polynomial of degree 4 or less is exact on all of `built`.

    A polynomial of degree d is laid through d + 1 sizes in exact arithmetic and must give the counts of all others, at
    least one of them, to the last unit.
    """
    ordered = sorted(built, key=lambda probe: probe.size)
    for degree in range(1, min(MAX_DEGREE, len(ordered) - 2) + 1):
        knots, held_out = ordered[: degree + 1], ordered[degree + 1 :]
        if all(_at(knots, probe.size) == dict(probe.counts) for probe in held_out):
            counts = _at(knots, size)
            return Probe(size=size, counts=counts, source="polynomial") if min(counts.values()) >= 0 else None
    return None


def _at(knots: Sequence[Probe], size: int) -> dict[str, float]:
    return {name: _lagrange(knots, name, size) for name in knots[0].counts}


def _lagrange(knots: Sequence[Probe], name: str, size: int) -> float:
    value = Fraction(0)
    for knot in knots:
        term = Fraction(knot.counts[name])
        for other in knots:
            if other.size != knot.size:
                term *= Fraction(size - other.size, knot.size - other.size)
        value += term
    return int(value) if value.denominator == 1 else float(value)
