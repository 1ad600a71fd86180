"""One planned grid point of a sweep, the points that are not there and why, and what a budget may be."""

from __future__ import annotations

import math
import numbers
import re
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from flops_fit.basics.arguments import (
    ARGUMENTS,
    LEFT_OUT,
    TEXT,
    Rule,
    check_fields,
    is_list,
    is_number,
    matching,
    number,
    whole,
)
from flops_fit.basics.from_json import from_json, without_empty
from flops_fit.errors import PlanError
from flops_fit.identity.fingerprints import content_hash
from flops_fit.sizes.dial import ROW

PLAN_TOLERANCE = 0.02  # of tokens and FLOPs, done against planned
_LONGEST = 40  # of a size in an id


_RULES = {
    "experiment_id": matching(r"[^/\\\s.][^/\\\n]*", "text that can name a folder"),
    "size_param_value": whole(),
    "num_params": whole(),
    "num_tokens": whole(),
    "tokens_per_param": number(above=0) | LEFT_OUT,
    "size_param": TEXT,
    "flops_per_token": number(above=0) | LEFT_OUT,
    "seed": whole(0),
    "measured_flops_per_token": number(least=0) | LEFT_OUT,
    "total_params": whole(0) | LEFT_OUT,
    "activation_bytes_per_token": number(least=0) | LEFT_OUT,
    "tuned": Rule(
        lambda tuned: isinstance(tuned, tuple) and all(TEXT.holds(name) and is_number(value) for name, value in tuned),
        "pairs of a name and a number",
    ),
    "arguments": ARGUMENTS,
    "active_params": whole(0) | LEFT_OUT,
    "recipe_tokens": whole() | LEFT_OUT,
}


@dataclass(frozen=True)
class Experiment:
    """One training to be run: a size, a number of tokens, a seed.

    Attributes:
        experiment_id: readable, then 8 hex digits of what decides the outcome; safe as a file name.
        compute_budget: FLOPs of the IsoFLOP curve it belongs to.
        num_params: N, in the convention of the plan.
        num_tokens: D, a whole number of examples.
        tokens_per_param: D / N; computed where it is left out.
        flops_per_token: forward and backward, in the convention of the plan; the budget over D where it is left out.
        measured_flops_per_token: what one forward and backward pass was measured to cost, where it was measured.
        total_params: all parameters, where the model let them be counted.
        activation_bytes_per_token: memory kept for the backward pass, where it was measured.
        outcome_fingerprint: of the study it was planned from, which alone may train it; "" where any may.
        tuned: name and value of the recipe numbers that are its own: those that the study tunes, or tries another of.
        arguments: what its size sets besides the size parameter, by name.
        label: what its size is called, where it is a row of a table.
        active_params: parameters that a token meets, where they are not all: in a mixture of experts.
        recipe_tokens: of a study that shares trunks, the tokens that its batch, rate and warmup are those of: the same
            at all budgets of its size (docs/training.md#trunks-and-branches).

    Raises `PlanError` for a value outside its limits, and for tokens per parameter more than 2 % from D / N.
    """

    experiment_id: str
    compute_budget: float
    size_param_value: int
    num_params: int
    num_tokens: int
    tokens_per_param: float = None  # type: ignore[assignment]  # a number once it is made
    size_param: str = "size"
    flops_per_token: float = None  # type: ignore[assignment]
    seed: int = 0
    measured_flops_per_token: float | None = None
    total_params: int | None = None
    activation_bytes_per_token: float | None = None
    outcome_fingerprint: str = ""
    tuned: tuple[tuple[str, float], ...] = ()
    arguments: Mapping[str, Any] = field(default_factory=dict, hash=False)
    label: str = ""
    active_params: int | None = None
    recipe_tokens: int | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "compute_budget", parse_budget(self.compute_budget))
        for name in ("num_params", "num_tokens"):
            value = getattr(self, name)
            if isinstance(value, float) and value.is_integer():  # written as 1e9
                object.__setattr__(self, name, int(value))
        check_fields(self, _RULES)
        ratio = self.num_tokens / self.num_params
        if self.tokens_per_param is None:
            object.__setattr__(self, "tokens_per_param", ratio)
        elif abs(self.tokens_per_param - ratio) > PLAN_TOLERANCE * ratio:
            raise PlanError(
                f"tokens_per_param = {self.tokens_per_param:g} must be num_tokens / num_params = {self.num_tokens:,} / "
                f"{self.num_params:,} = {ratio:g} to within {PLAN_TOLERANCE:.0%}; correct one of them, or leave "
                "tokens_per_param out"
            )
        if self.flops_per_token is None:
            object.__setattr__(self, "flops_per_token", self.compute_budget / self.num_tokens)

    @property
    def planned_flops(self) -> float:
        """FLOPs of the whole training, by the plan's convention."""
        return self.flops_per_token * self.num_tokens

    @property
    def size_text(self) -> str:
        """`"width=64"`, or the label of a row."""
        return self.label or f"{self.size_param}={self.size_param_value}"

    @property
    def size_cell(self) -> int | str:
        """The size alone, for a column that is headed with what it is."""
        return self.label or self.size_param_value

    @property
    def trunk(self) -> str:
        """Name of the training that it branches from, that of all experiments which are the same but for how long they
        are; "" where it is trained on its own."""
        if self.recipe_tokens is None:
            return ""
        is_row = self.size_param == ROW
        size = [self.size_param, None if is_row else self.size_param_value, dict(self.arguments)]
        decisive = [self.outcome_fingerprint, size, self.seed, self.recipe_tokens, [list(pair) for pair in self.tuned]]
        name = _readable(self.arguments) if is_row else f"{self.size_param}{self.size_param_value}"
        return f"{name}-s{self.seed}-{content_hash(decisive)[:16]}"

    @property
    def for_recipe(self) -> Experiment:
        """The experiment that rules of the recipe are read at: itself, or that of `recipe_tokens`."""
        if self.recipe_tokens is None:
            return self
        flops = self.flops_per_token * self.recipe_tokens
        ratio = self.recipe_tokens / self.num_params
        return replace(self, num_tokens=self.recipe_tokens, compute_budget=flops, tokens_per_param=ratio)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values; without what few have, such as `tuned`, where it is empty."""
        return without_empty(asdict(self), "tuned", "arguments", "label", "active_params", "recipe_tokens")

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Experiment:
        """Inverse of `to_dict`; raises `FileError` naming a field that is missing, unknown or not valid."""
        return from_json(cls, content)


_DROPPED_RULES = {
    "compute_budget": number(above=0),
    "num_params": number(above=0),
    "reason": TEXT,
    "size_param_value": whole() | LEFT_OUT,
}


@dataclass(frozen=True, kw_only=True)
class DroppedPoint:
    """A grid point that is not in the plan: `num_params` is that of the size, or the one aimed at if no size fits."""

    compute_budget: float
    num_params: float
    reason: str
    size_param_value: int | None = None
    label: str = ""

    def __post_init__(self) -> None:
        check_fields(self, _DROPPED_RULES)

    @property
    def size_cell(self) -> int | str:
        """The size, or the label of a row; "" where there is none."""
        return self.label or self.size_param_value or ""

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return without_empty(asdict(self), "label")


def parse_budget(budget: Any, name: str = "compute budget") -> float:
    """A budget in FLOPs from a number or text such as `"1e18"`.

    Raises `PlanError` for what is no positive finite number, stating the value, the limit and the remedy.
    """
    remedy = "give training FLOPs as a positive finite number, such as 1e18"
    if isinstance(budget, bool) or not isinstance(budget, str | numbers.Real):
        raise PlanError(f"{name} {budget!r} is a {type(budget).__name__}, not a number; {remedy}")
    try:
        flops = float(budget)
    except ValueError as error:
        raise PlanError(f"{name} {budget!r} is text that is no number; {remedy}") from error
    except OverflowError as error:
        raise PlanError(f"{name} of more than {sys.float_info.max:.0e} FLOPs; {remedy}") from error
    if not math.isfinite(flops):
        raise PlanError(f"{name} {budget!r} is not finite; {remedy}")
    if flops <= 0:
        raise PlanError(f"{name} {budget!r} must be above 0; {remedy}")
    return flops


def parse_budgets(budgets: Any, name: str = "compute_budgets") -> tuple[float, ...]:
    """Each of several compute budgets by `parse_budget`, in the order given; raises `PlanError` where there is none."""
    if not is_list(budgets) or len(budgets) == 0:
        raise PlanError(f"{name} = {budgets!r} must be a list of at least one number of training FLOPs")
    return tuple(parse_budget(budget) for budget in budgets)


def experiment_id(
    *,
    budget: float,
    size_param: str,
    size: int,
    num_tokens: int,
    seed: int,
    identity: str,
    arguments: Mapping[str, Any] | None = None,
    recipe_tokens: int | None = None,
) -> str:
    """`"c6e+10-width48-s0-3f9a2b71"`: equal exactly when everything that decides the outcome is equal.

    `arguments` are what the size sets besides, by which alone a row without a size parameter is told: neither its place
    nor its label changes what is trained.
    """
    decisive = {"budget": repr(budget), "size": [size_param, size], "tokens": num_tokens, "seed": seed, "of": identity}
    decisive |= {} if recipe_tokens is None else {"recipe_tokens": recipe_tokens}
    name = f"{size_param}{size}"
    if arguments:
        is_row = size_param == ROW
        decisive |= {"size": [size_param, None if is_row else size, dict(arguments)]}
        name = _readable(arguments) if is_row else name
    return f"c{budget:g}-{name}-s{seed}-{content_hash(decisive)[:8]}"


def _readable(arguments: Mapping[str, Any]) -> str:
    """`"width512-depth8"`, of letters, digits and points, and not long: the hash tells the rest."""
    parts = (f"{name}{value}" for name, value in arguments.items())
    text = "-".join(re.sub(r"[^A-Za-z0-9_.]+", "_", part).strip("_") for part in parts)
    return text if len(text) <= _LONGEST else text[:_LONGEST].rstrip("-_.")


def with_values(experiment: Experiment, values: Mapping[str, float]) -> Experiment:
    """`experiment` with recipe numbers of its own, which are part of its id."""
    tuned = tuple(sorted((name, float(value)) for name, value in values.items()))
    name = experiment_id(
        budget=experiment.compute_budget,
        size_param=experiment.size_param,
        size=experiment.size_param_value,
        num_tokens=experiment.num_tokens,
        seed=experiment.seed,
        identity=content_hash([experiment.outcome_fingerprint, tuned]),
        arguments=experiment.arguments,
        recipe_tokens=experiment.recipe_tokens,
    )
    return replace(experiment, experiment_id=name, tuned=tuned)
