"""Trial: one training of a tuning study, before or after it was run."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from flops_fit.basics.arguments import LEFT_OUT, Rule, check_fields, is_number, number
from flops_fit.errors import StudyError

Cell = tuple[float, float]  # parameters and tokens

_RULES = {
    "num_params": number(above=0),
    "num_tokens": number(above=0),
    "values": Rule(
        lambda values: isinstance(values, Mapping) and all(is_number(v) and v > 0 for v in values.values()),
        "a number above 0 for each tuned name",
    ),
    "loss": number(above=0) | LEFT_OUT,
}


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One training at one size and number of tokens with one set of tuned values.

    Attributes:
        values: tuned name → value, all above 0.
        loss: final held-out loss, above 0; None where the training diverged, or has not been run.

    Raises `StudyError` for a value outside its limits. A loss that is not finite becomes None.
    """

    num_params: float
    num_tokens: float
    values: Mapping[str, float]
    loss: float | None = None

    def __post_init__(self) -> None:
        if isinstance(self.loss, float) and not math.isfinite(self.loss):
            object.__setattr__(self, "loss", None)
        check_fields(self, _RULES, StudyError, prefix="trial ")
        object.__setattr__(self, "values", {name: float(v) for name, v in self.values.items()})

    @property
    def cell(self) -> Cell:
        """Parameters and tokens."""
        return (self.num_params, self.num_tokens)

    @property
    def key(self) -> tuple[object, ...]:
        """What trials are sorted by, so that their order changes nothing."""
        return (*self.cell, *sorted(self.values.items()), math.inf if self.loss is None else self.loss)
