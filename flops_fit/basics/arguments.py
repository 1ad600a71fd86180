"""What an argument may be, and the refusal of any other: the value, and the limit that says what to give instead."""

from __future__ import annotations

import difflib
import math
import numbers
import os
import re
import reprlib
from collections.abc import Callable, Collection, Mapping, Set
from dataclasses import dataclass
from typing import Any

from flops_fit.errors import PlanError

_SHOWN = reprlib.Repr()
_SHOWN.maxstring = _SHOWN.maxother = _SHOWN.maxlong = 120
_SHOWN.maxlist = _SHOWN.maxtuple = 20


@dataclass(frozen=True)
class Rule:
    """A condition on a value, and the words that follow "must be" where it does not hold."""

    holds: Callable[[Any], bool]
    limit: str

    def __or__(self, other: Rule) -> Rule:
        return Rule(lambda value: self.holds(value) or other.holds(value), f"{self.limit}, or {other.limit}")


def number(
    *, above: float | None = None, least: float | None = None, below: float | None = None, most: float | None = None
) -> Rule:
    """A finite number within the limits; neither text nor a truth value."""
    bounds = (("above", above), ("of at least", least), ("below", below), ("at most", most))
    words = " and ".join(f"{word} {bound:g}" for word, bound in bounds if bound is not None)

    def holds(value: Any) -> bool:
        return (
            is_number(value)
            and (above is None or value > above)
            and (least is None or value >= least)
            and (below is None or value < below)
            and (most is None or value <= most)
        )

    return Rule(holds, f"a number {words}" if words else "a number")


def whole(least: int = 1) -> Rule:
    """A whole number, not written as 3.0."""
    return Rule(
        lambda value: is_number(value) and isinstance(value, numbers.Integral) and int(value) >= least,
        f"a whole number of at least {least}",
    )


def one_of(*choices: str) -> Rule:
    """One of these words."""
    return Rule(lambda value: isinstance(value, str) and value in choices, f"one of {', '.join(choices)}")


def matching(pattern: str, words: str) -> Rule:
    """Text that the regular expression `pattern` matches from end to end."""
    return Rule(lambda value: isinstance(value, str) and re.fullmatch(pattern, value) is not None, words)


def several(item: Rule, words: str, *, least: int = 1) -> Rule:
    """A list, tuple or array of at least `least` values, `item` holding for each."""
    return Rule(lambda values: is_list(values) and len(values) >= least and all(map(item.holds, values)), words)


def made_of(kind: Any, words: str) -> Rule:
    """An instance of `kind`."""
    return Rule(lambda value: isinstance(value, kind), words)


def is_url(value: Any) -> bool:
    """Whether this is text or a path such as s3://bucket/folder, also where `Path` has made one slash of two."""
    return isinstance(value, str | os.PathLike) and re.match(r"[A-Za-z][A-Za-z0-9+.-]+:/", str(value)) is not None


FOLDER = Rule(  # on Windows a drive is one letter
    lambda value: isinstance(value, str | os.PathLike) and not is_url(value),
    "the path of a folder on this machine; the files of `flops-fit run` and `flops-fit ui` can be in an object store, "
    "by FLOPS_FIT_STORAGE=s3://bucket/folder",
)
TEXT = Rule(lambda value: isinstance(value, str) and bool(value.strip()), "text that is not empty")
FLAG = made_of(bool, "true or false")
LEFT_OUT = Rule(lambda value: value is None, "left out")
ARGUMENTS = Rule(
    lambda value: isinstance(value, Mapping) and all(isinstance(name, str) for name in value),
    'arguments by name, such as {"depth": 4}',
)


def need(name: str, value: Any, rule: Rule, error: type[Exception] = PlanError) -> None:
    """Raise `error` where `rule` does not hold for the argument `name`."""
    if not rule.holds(value):
        raise error(f"{name} = {_SHOWN.repr(value)} must be {rule.limit}")


def check_fields(
    instance: Any, rules: Mapping[str, Rule], error: type[Exception] = PlanError, *, prefix: str = ""
) -> None:
    """`need` for the fields of a dataclass that have a rule; NumPy's numbers become Python's."""
    for name, rule in rules.items():
        value = getattr(instance, name)
        need(prefix + name, value, rule, error)
        if is_number(value):
            object.__setattr__(instance, name, plain_number(value))


def did_you_mean(name: str, known: Collection[str], otherwise: str = "") -> str:
    """The known name that is nearest to one that is not, else `otherwise` or all that are known."""
    near = nearest(name, known)
    return f"did you mean {near!r}?" if near else otherwise or f"known are {', '.join(sorted(known))}"


def nearest(name: str, known: Collection[str]) -> str | None:
    """The known name that is nearest to one that is not; None where none is near."""
    return next(iter(difflib.get_close_matches(name, known, n=1)), None)


def is_list(value: Any) -> bool:
    """Whether this is a list, tuple or array; text, mappings and sets, which have no order, are none."""
    return isinstance(value, Collection) and not isinstance(value, str | bytes | Mapping | Set)


def is_number(value: Any) -> bool:
    """Whether this is a finite real number, of Python or NumPy."""
    try:
        return isinstance(value, numbers.Real) and not isinstance(value, bool) and math.isfinite(value)
    except OverflowError:  # an integer beyond what a float can hold
        return False


def plain_number(value: Any) -> int | float:
    """The same number as Python's own."""
    return int(value) if isinstance(value, numbers.Integral) else float(value)
