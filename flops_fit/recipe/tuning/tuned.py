"""Tuned: a recipe number that is to be found, what is believed about it before, and how far it may go."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from flops_fit.basics.arguments import TEXT, check_fields, number
from flops_fit.errors import StudyError


@dataclass(frozen=True, kw_only=True)
class Belief:
    """What is believed of one recipe number before any trial: means and standard deviations of normal distributions.

    Attributes:
        exponent_of_params, exponent_of_tokens: p and q of its optimum ~ N^p D^q, each (mean, sd).
        curvature: (typical, factor) of h in `log loss = best + h/2 * ln(value / optimum)^2`; the factor is one sd.
        asymmetry: of `skew`; above 0 where too high costs more than too low (see `surface.py`).
        diverges_above: whether a training that diverged had the value too high.
    """

    exponent_of_params: tuple[float, float]
    exponent_of_tokens: tuple[float, float]
    curvature: tuple[float, float]
    asymmetry: tuple[float, float] = (0.0, 0.5)
    diverges_above: bool = False


# Exponents: the middle of what was published and a spread that holds all of it within two sd.
# Learning rate: Step Law N^-0.713 D^0.307 (arXiv 2503.04715); DeepSeek C^-0.125 (2401.02954), so N^-0.125 D^-0.125;
# standard parametrisation with Adam width^-1 (Yang et al. 2022, 2203.03466), so N^-0.5 where width alone grows;
# muP 0; Bjorck et al. 2024 (2409.19913) D^-0.32 at a fixed batch.
# Batch: Step Law D^0.571; DeepSeek C^0.327; critical batch D^0.47 and N^0.09 (Zhang et al. 2024, 2410.21676).
# Curvature of log loss: about 0.01 in published sweeps of 1e8 parameters and more, up to 0.1 where models are tiny.
# Weight decay: optimal decay ~ 1/(rate * steps) (Wang & Aitchison 2024, 2405.13698): falls with the data, if anything.
BELIEFS = {
    "learning_rate": Belief(
        exponent_of_params=(-0.35, 0.35),
        exponent_of_tokens=(0.0, 0.25),
        curvature=(0.02, 4.0),
        asymmetry=(0.5, 0.5),
        diverges_above=True,
    ),
    "batch_tokens": Belief(exponent_of_params=(0.05, 0.2), exponent_of_tokens=(0.45, 0.2), curvature=(0.01, 4.0)),
    "weight_decay": Belief(exponent_of_params=(0.0, 0.2), exponent_of_tokens=(-0.1, 0.3), curvature=(0.003, 4.0)),
}
OTHERS = Belief(exponent_of_params=(0.0, 0.2), exponent_of_tokens=(0.0, 0.2), curvature=(0.003, 4.0))

_RULES = {
    "name": TEXT,
    "guess": number(above=0),
    "low": number(above=0),
    "high": number(above=0),
    "off_by": number(above=1),
}


@dataclass(frozen=True, kw_only=True)
class Tuned:
    """A recipe number that is to be tuned.

    Attributes:
        name: as in the recipe, such as "learning_rate".
        guess: where to begin: a value that is thought right for the cheapest cell.
        low, high: the least and greatest value that may be tried.
        off_by: the factor by which the guess may be wrong (one standard deviation).
        belief: what is believed before; None for what is usual for `name`.

    Raises `StudyError` for a value outside its limits.
    """

    name: str
    guess: float
    low: float
    high: float
    off_by: float = 10.0
    belief: Belief | None = None

    def __post_init__(self) -> None:
        check_fields(self, _RULES, StudyError, prefix="tuned ")
        if not self.low <= self.guess <= self.high or self.low == self.high:
            raise StudyError(
                f"{self.name}: the guess {self.guess:g} must lie within the bounds [{self.low:g}, {self.high:g}], "
                "the lower one below the upper; widen the bounds or begin elsewhere"
            )

    @property
    def believed(self) -> Belief:
        """What is believed before any trial."""
        return self.belief or BELIEFS.get(self.name, OTHERS)

    @property
    def log_guess(self) -> tuple[float, float]:
        """Mean and standard deviation of the logarithm of the optimum at the cheapest cell."""
        return math.log(self.guess), math.log(self.off_by)


def in_order(tuned: Sequence[Tuned]) -> tuple[Tuned, ...]:
    """What diverges first, then as in `BELIEFS`, then by name: each is fitted given those after it."""
    known = [*BELIEFS]
    return tuple(
        sorted(
            tuned,
            key=lambda item: (
                not item.believed.diverges_above,
                known.index(item.name) if item.name in known else len(known),
                item.name,
            ),
        )
    )
