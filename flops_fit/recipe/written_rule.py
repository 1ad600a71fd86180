"""Rules as they are written in a study: `"0.06*tokens^0.67"`, `"min(0.02, 0.1*sqrt(batch/params))"`."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass

_NUMBER = r"(\d+\.?\d*(?:[eE][+-]?\d+)?|\.\d+(?:[eE][+-]?\d+)?)"
_LEAST = re.compile(rf"min\(\s*{_NUMBER}\s*,(.*)\)")
_FACTOR = re.compile(
    rf"\s*\*\s*(?:sqrt\(\s*(?P<over>[a-z]+)(?:\s*/\s*(?P<under>[a-z]+))?\s*\)"
    rf"|(?P<name>[a-z]+)(?:\s*(?:\^|\*\*)\s*(?P<sign>-?){_NUMBER})?)"
)


@dataclass(frozen=True, kw_only=True)
class WrittenRule:
    """`coefficient` times powers of named quantities, and never above `most`."""

    coefficient: float
    exponents: Mapping[str, float]
    most: float = math.inf

    @classmethod
    def read(cls, text: str, names: Collection[str]) -> WrittenRule | None:
        """The rule that `text` says, in which only `names` may stand; None where it says none.

        A positive number, then factors `*name`, `*name^p`, `*sqrt(name)` or `*sqrt(name/other)`; all of it may stand in
        `min(number, …)`.
        """
        text, most = text.strip(), math.inf
        if limited := _LEAST.fullmatch(text):
            text, most = limited[2].strip(), float(limited[1])
        start = re.match(_NUMBER, text)
        if start is None:
            return None
        at, exponents = start.end(), dict[str, float]()
        while factor := _FACTOR.match(text, at):
            for name, exponent in _powers(factor):
                exponents[name] = exponents.get(name, 0.0) + exponent
            at = factor.end()
        sound = at == len(text) and exponents and set(exponents) <= set(names)
        if not sound or not 0 < float(start[1]) < math.inf or not most > 0:
            return None
        return cls(coefficient=float(start[1]), exponents=exponents, most=most)

    def __call__(self, **values: float) -> float:
        """The rule's number where the named quantities have these values."""
        product = self.coefficient
        for name, exponent in self.exponents.items():
            product *= math.sqrt(values[name]) if exponent == 0.5 else values[name] ** exponent
        return min(self.most, product)


def _powers(factor: re.Match[str]) -> list[tuple[str, float]]:
    if factor["name"] is None:
        under = [(factor["under"], -0.5)] if factor["under"] else []
        return [(factor["over"], 0.5), *under]
    exponent = float(factor[5]) if factor[5] else 1.0
    return [(factor["name"], -exponent if factor["sign"] else exponent)]
