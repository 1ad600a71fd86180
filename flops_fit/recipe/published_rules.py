"""Published rules for the learning rate and the batch, by name, and where they were fitted."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from flops_fit.basics.formatting import format_count, format_flops

if TYPE_CHECKING:
    from flops_fit.sweep.experiment import Experiment

_LETTERS = {"num_params": "N", "num_tokens": "D", "compute_budget": "C"}


@dataclass(frozen=True, kw_only=True)
class PowerRule:
    """`coefficient` times powers of an experiment's own numbers (`num_params`, `num_tokens`, `compute_budget`)."""

    coefficient: float
    exponents: Mapping[str, float]

    def __call__(self, experiment: Experiment) -> float:
        """The law at `experiment`."""
        return self.coefficient * math.prod(
            getattr(experiment, name) ** exponent for name, exponent in self.exponents.items()
        )

    def __str__(self) -> str:
        powers = [f"{_LETTERS[name]}^{exponent:g}" for name, exponent in self.exponents.items()]
        return " * ".join([f"{self.coefficient:g}", *powers])


@dataclass(frozen=True, kw_only=True)
class PublishedRule:
    """How others found learning rate and batch to depend on size, data or compute.

    Attributes:
        name: what a recipe calls it.
        source: the publication.
        learning_rate: peak rate of AdamW.
        batch_tokens: tokens per optimizer step.
        fitted_on: attribute of `Experiment` → least and greatest value that the rule was fitted on.
        takes: what the publication counts, in words.
    """

    name: str
    source: str
    learning_rate: PowerRule
    batch_tokens: PowerRule
    fitted_on: Mapping[str, tuple[float, float]]
    takes: str

    def holds_for(self, experiment: Experiment) -> bool:
        """Whether `experiment` lies where the rule was fitted."""
        return all(low <= getattr(experiment, name) <= high for name, (low, high) in self.fitted_on.items())

    @property
    def range_text(self) -> str:
        """`"N from 59.0M to 1.07B and D from 2.00B to 100B"`."""
        return " and ".join(
            f"{_LETTERS[name]} from {_readable(name, low)} to {_readable(name, high)}"
            for name, (low, high) in self.fitted_on.items()
        )


# The ranges decide when to warn and nothing else. Checked against other accounts of the papers: that Step Law goes up
# to 1B parameters on 100B tokens. Not checked against the papers' own text: the lower ends of Step Law's grid (59M,
# 2B), and that DeepSeek's section 3.1 used 1e17 to 2e19 FLOPs.
RULES: Mapping[str, PublishedRule] = {
    rule.name: rule
    for rule in (
        PublishedRule(
            name="step_law",
            source="Li et al. 2025, arXiv 2503.04715",
            learning_rate=PowerRule(coefficient=1.79, exponents={"num_params": -0.713, "num_tokens": 0.307}),
            batch_tokens=PowerRule(coefficient=0.58, exponents={"num_tokens": 0.571}),
            fitted_on={"num_params": (59e6, 1.07e9), "num_tokens": (2e9, 100e9)},
            takes="N without embeddings",
        ),
        PublishedRule(
            name="deepseek",
            source="Bi et al. 2024, arXiv 2401.02954, equation 1",
            learning_rate=PowerRule(coefficient=0.3118, exponents={"compute_budget": -0.1250}),
            batch_tokens=PowerRule(coefficient=0.2920, exponents={"compute_budget": 0.3271}),
            fitted_on={"compute_budget": (1e17, 2e19)},
            takes="C without embeddings, attention included",
        ),
    )
}


def _readable(name: str, value: float) -> str:
    return format_flops(value) if name == "compute_budget" else format_count(value)
