"""Counts of sizes that were not built, and FLOPs of sizes that were not measured, from those that were."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from flops_fit.sizes.counting import Probe, Step

MAX_DEGREE = 4
TOLERANCE = 0.01  # of FLOPs that a rule gives, at sizes left out when it was made
_EXACT = 1e-6
_FEWEST = 5  # sizes measured
_TERMS = (
    ("size", "N"),
    ("size", "N without embeddings"),
    ("1", "size", "N"),
    ("1", "size", "size²"),
    ("size", "size²", "N"),
    ("1", "size", "size²", "N", "N without embeddings"),
)

Number = int | float


def extrapolate(built: Sequence[Probe], size: int) -> Probe | None:
    """The counts at `size`; None where no polynomial of degree 4 or less is exact on all of `built`.

    A polynomial of degree d is laid through d + 1 sizes in exact arithmetic and must give the counts of all others, at
    least one of them, to the last unit.
    """
    counts = _exact({probe.size: probe.counts for probe in built})
    if counts is None:
        return None
    found = counts(size)
    return Probe(size=size, counts=found, source="polynomial") if min(found.values()) >= 0 else None


def follows(arguments: Mapping[int, Mapping[str, Any]], size: int) -> bool:
    """Whether what `size` sets continues what the other sizes do: beyond the bend of a `min` or `max` a polynomial that
    is exact before it is not. Numbers that need not be whole shape no parameters."""
    whole = {
        each: {name: value for name, value in sets.items() if type(value) is int} for each, sets in arguments.items()
    }
    if not whole[size]:
        return True
    rule = _exact({each: sets for each, sets in whole.items() if each != size})
    return rule is not None and rule(size) == whole[size]


@dataclass(frozen=True, kw_only=True)
class Rule:
    """How the step of a size follows from its size and parameters.

    Attributes:
        smallest: the size from which on it holds.
        name: what kind of rule, and how well it gives what it was not made from.
        step: of a size that was counted.
    """

    smallest: int
    name: str
    step: Callable[[Probe], Step]


def rules_for(measured: Sequence[Probe], *, reaches: bool) -> list[Rule]:
    """Rules that give the steps of `measured`, each from the smallest size on that it can; none where none does.

    A polynomial in the size that is exact; and FLOPs and memory as a sum of multiples of the size and the parameters,
    which for layers of products holds however widths are rounded (6·N for weights, attention in proportion to the
    width, embeddings to be taken off), or of a few terms more (`_TERMS`). The latter must give sizes left out to within
    1 %: every second one where the measured sizes reach as far as the rule is used, and otherwise the upper third.
    """
    ordered = sorted(measured, key=lambda probe: probe.size)
    tails = [ordered[first:] for first in range(len(ordered) - _FEWEST + 1)]
    exact = (_exact_rule(used) for used in tails)
    linear = (_linear_rule(used, used[1:-1:2] if reaches else used[-(len(used) // 3) :]) for used in tails)
    first = (next((rule for rule in rules if rule is not None), None) for rules in (exact, linear))
    return [rule for rule in first if rule is not None]


def off_by(rule: Rule, probe: Probe) -> float:
    """By what share of the FLOPs of a step that was measured a rule is off."""
    return abs(rule.step(probe).counts["measured"] / _of_step(probe)["measured"] - 1)


def _exact_rule(used: Sequence[Probe]) -> Rule | None:
    exact = _exact({probe.size: _of_step(probe) for probe in used})
    if exact is None:
        return None
    name = "a polynomial in the size, exact at each of these"
    return Rule(smallest=used[0].size, name=name, step=lambda probe: _step(exact(probe.size)))


def _linear_rule(used: Sequence[Probe], left_out: Sequence[Probe]) -> Rule | None:
    """Of the sums of few terms and many, the first that is all but exact, or else the one least off."""
    made_from = [probe for probe in used if probe not in left_out]
    off = {
        terms: max(off_by(_rule(used[0].size, made_from, terms, ""), probe) for probe in left_out)
        for terms in _TERMS
        if len(terms) <= len(made_from)
    }
    terms = next((terms for terms in off if off[terms] < _EXACT), min(off, key=lambda terms: off[terms]))
    if not off[terms] <= TOLERANCE:
        return None
    sizes = ", ".join(str(probe.size) for probe in left_out)
    made = f"which made without {sizes} is off by {percent(off[terms])} there"
    return _rule(used[0].size, used, terms, f"a sum of multiples of {' and '.join(terms)}, {made}")


def _rule(smallest: int, probes: Sequence[Probe], terms: Sequence[str], name: str) -> Rule:
    linear = _linear(probes, terms)
    return Rule(smallest=smallest, name=name, step=lambda probe: _step(linear(probe)))


def percent(share: float) -> str:
    """`"at most 0.02 %"`; nothing smaller is told apart."""
    return f"at most {max(share, 1e-4):.2%}"


def _linear(probes: Sequence[Probe], terms: Sequence[str]) -> Callable[[Probe], dict[str, float]]:
    """Least squares on relative errors."""
    table = np.array([_values(probe, terms) for probe in probes])
    fitted = {}
    for name in _of_step(probes[0]):
        values = np.array([float(_of_step(probe)[name]) for probe in probes])
        weights = 1 / np.maximum(np.abs(values), 1.0)
        weighted = table * weights[:, None]
        scale = np.linalg.norm(weighted, axis=0)
        fitted[name] = np.linalg.lstsq(weighted / scale, values * weights, rcond=1e-12)[0] / scale
    return lambda probe: {name: _rounded(_values(probe, terms) @ factors) for name, factors in fitted.items()}


def _rounded(value: float) -> float:
    """To the digits that least squares is sure of, so that the same rule from other sizes gives the same."""
    return max(0.0, float(f"{value:.11g}"))


def _values(probe: Probe, terms: Sequence[str]) -> np.ndarray:
    size = float(probe.size)
    total = float(probe.counts.get("total", probe.counts.get("own", 0)))
    known = {"1": 1.0, "size": size, "size²": size**2, "N": total}
    known["N without embeddings"] = float(probe.counts.get("non_embedding", total))
    return np.array([known[term] for term in terms])


def _of_step(probe: Probe) -> Mapping[str, Number]:
    assert probe.step is not None
    return probe.step.counts


def _step(counts: Mapping[str, Number]) -> Step:
    return Step(counts=counts, source="worked out")


def _exact(counts: Mapping[int, Mapping[str, Number]]) -> Callable[[int], dict[str, Number]] | None:
    """The polynomial in the size that gives all `counts`, made from the smallest; None where there is none."""
    ordered = sorted(counts)
    for degree in range(1, min(MAX_DEGREE, len(ordered) - 2) + 1):
        knots = {size: counts[size] for size in ordered[: degree + 1]}
        if all(_at(knots, size) == dict(counts[size]) for size in ordered[degree + 1 :]):
            return lambda size, knots=knots: _at(knots, size)  # type: ignore[misc]
    return None


def _at(knots: Mapping[int, Mapping[str, Number]], size: int) -> dict[str, Number]:
    names = next(iter(knots.values()))
    return {name: _lagrange({knot: counts[name] for knot, counts in knots.items()}, size) for name in names}


def _lagrange(knots: Mapping[int, Number], size: int) -> Number:
    value = Fraction(0)
    for knot, count in knots.items():
        term = Fraction(count)
        for other in knots:
            if other != knot:
                term *= Fraction(size - other, knot - other)
        value += term
    return int(value) if value.denominator == 1 else float(value)
