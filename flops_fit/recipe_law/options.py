"""How the recipe numbers that are "tune" are found, and what that may cost: the section [tuning]."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from flops_fit.basics.arguments import Rule, check_fields, is_list, is_number, number, one_of, whole
from flops_fit.errors import StudyError
from flops_fit.recipe.published_rules import RULES
from flops_fit.recipe.recipe import TUNABLE, Recipe

FIELD_RULES = {
    "trainings": whole(4),
    "share": number(above=0, below=1),
    "settle": number(least=0, below=1),
    "start": one_of(*RULES)
    | Rule(
        lambda start: isinstance(start, Mapping) and all(is_number(value) and value > 0 for value in start.values()),
        "a number above 0 for each name",
    ),
    "bounds": Rule(
        lambda bounds: isinstance(bounds, Mapping) and all(map(_is_range, bounds.values())),
        "two numbers above 0 for each name, the smaller first",
    ),
}


def _is_range(pair: Any) -> bool:
    return is_list(pair) and len(pair) == 2 and all(map(is_number, pair)) and 0 < pair[0] < pair[1]


@dataclass(frozen=True, kw_only=True)
class TuningOptions:
    """The trials of a study's recipe.

    Attributes:
        trainings: how many, at most.
        share: of the study's FLOPs that they may take together, at most.
        settle: of the study's FLOPs that further trials may take where the best recipe is not known well enough after
            these; given later, the trials that were trained stay.
        start: where to begin: the name of a published rule for learning rate and batch, or a number by name, each for
            the cheapest trials. What is not named begins at what the default recipe has there.
        bounds: name → least and greatest value that may be tried and used; by default far away.

    Raises `StudyError` for a value outside its limits.
    """

    trainings: int = 40
    share: float = 0.08
    settle: float = 0.0
    start: str | Mapping[str, float] = field(default_factory=dict)
    bounds: Mapping[str, tuple[float, float]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_fields(self, FIELD_RULES, StudyError, prefix="tuning.")
        pairs = {name: (float(low), float(high)) for name, (low, high) in self.bounds.items()}
        object.__setattr__(self, "bounds", pairs)

    def outcome(self) -> dict[str, Any]:
        """What of it decides which trials are tried first: what may be spent on further ones does not."""
        return {name: value for name, value in vars(self).items() if name != "settle"}

    def refuse_unless_for(self, recipe: Recipe) -> None:
        """Raise `StudyError` where it speaks of what `recipe` does not tune."""
        if not recipe.tuned:
            raise StudyError(
                f'[tuning] is given and nothing of the recipe is "tune"; set one of {", ".join(TUNABLE)} to "tune" in '
                "[training], or leave [tuning] out"
            )
        named = [*self.bounds, *(self.start if isinstance(self.start, Mapping) else [])]
        for name in named:
            if name not in recipe.tuned:
                raise StudyError(
                    f'[tuning] speaks of {name}, and "tune" in the recipe is {", ".join(recipe.tuned)}; take it out, '
                    f'or set {name} = "tune" in [training]'
                )
