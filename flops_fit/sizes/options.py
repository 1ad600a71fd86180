"""Which sizes of which model are looked for, and what is counted of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from flops_fit.basics.arguments import ARGUMENTS, LEFT_OUT, TEXT, Rule, check_fields, number, one_of, several, whole
from flops_fit.errors import ModelContractError, PlanError
from flops_fit.sizes.dial import Dial, dial_of
from flops_fit.sizes.model_factory import build_model
from flops_fit.sizes.multiples import MULTIPLE, Multiple, first_allowed, in_words, is_allowed, plain_multiple
from flops_fit.sizes.signature import takes

PARAM_COUNTS = ("total", "trainable", "non_embedding", "active")
AUTO = "auto"  # by the kind of model: see `flops_fit.sizes.conventions`
CAUSAL = "measured, causal attention"
FLOPS_METHODS = ("6nd", "measured", CAUSAL, "model", "function")
ATTENTION_FLOPS = ("full", "causal")


FIELD_RULES = {
    "min_size": whole() | LEFT_OUT,
    "max_size": whole() | LEFT_OUT,
    "size_values": several(whole(), "a list of whole numbers, each at least 1") | LEFT_OUT,
    "size_multiple": MULTIPLE | LEFT_OUT,
    "max_params": number(above=0),
    "num_sizes": whole(),
    "flops": one_of(AUTO, "6nd", "measured", "model") | Rule(callable, "a function of the model"),
    "flops_per_param_per_token": number(above=0),
    "attention_flops": one_of(*ATTENTION_FLOPS),
    "param_count": one_of(AUTO, *PARAM_COUNTS),
    "loss_fn": Rule(callable, "a function of outputs and targets") | LEFT_OUT,
    "tokens_per_example": number(above=0),
    "data_unit": TEXT | LEFT_OUT,
}


@dataclass(frozen=True, kw_only=True)
class SizeOptions:
    """Which sizes a map has and what is counted of them; arguments as in `flops_fit.build_size_map`."""

    min_size: int | None = None
    max_size: int | None = None
    size_values: Sequence[int] | None = None
    size_multiple: Multiple | None = None
    max_params: float = 1e11
    num_sizes: int = 56
    flops: str | Callable[[Any], float] = AUTO
    flops_per_param_per_token: float = 6.0
    attention_flops: str = "full"
    param_count: str = AUTO
    sample_batch: Any = None
    loss_fn: Callable[[Any, Any], Any] | None = None
    tokens_per_example: float = 1
    data_unit: str | None = None

    def __post_init__(self) -> None:
        check_fields(self, FIELD_RULES)
        if self.size_values is not None:
            object.__setattr__(self, "size_values", tuple(int(value) for value in self.size_values))
        object.__setattr__(self, "size_multiple", plain_multiple(self.size_multiple))
        if self.min_size is not None and self.max_size is not None and self.min_size > self.max_size:
            raise PlanError(f"min_size = {self.min_size} is above max_size = {self.max_size}; give a range")
        if self.attention_flops != "full":
            self._measure_attention()
        if self.size_multiple is not None:
            self._refuse_without_multiple(self.size_multiple)

    def _measure_attention(self) -> None:
        if self.flops not in (AUTO, "measured"):
            raise PlanError(
                f'attention_flops = "{self.attention_flops}" is about measured FLOPs, and flops = {self.flops!r} are '
                'not; give flops = "measured", or leave attention_flops out'
            )
        object.__setattr__(self, "flops", "measured")

    def _refuse_without_multiple(self, multiple: Multiple) -> None:
        least, most = self.min_size or 1, self.max_size or math.inf
        if first_allowed(least, multiple) > most:
            raise PlanError(
                f"no size from min_size = {least} to max_size = {most} is one of the {in_words(multiple)} that "
                "size_multiple allows; widen the range, or give a smaller size_multiple"
            )
        other = [size for size in self.size_values or () if not is_allowed(size, multiple)]
        if other:
            raise PlanError(
                f"size_values has {', '.join(map(str, other))} where size_multiple allows {in_words(multiple)} alone; "
                "leave size_multiple out, as the list says which sizes there are"
            )

    @property
    def flops_method(self) -> str:
        """What FLOPs per token are, one of `FLOPS_METHODS`; "auto" before a size was probed."""
        if not isinstance(self.flops, str):
            return "function"
        return CAUSAL if self.attention_flops == "causal" else self.flops

    @property
    def measures(self) -> bool:
        """Whether there is a batch to measure FLOPs with."""
        return self.sample_batch is not None and self.loss_fn is not None


_REQUEST_RULES = {
    "size_param": TEXT | LEFT_OUT,
    "model_kwargs": ARGUMENTS,
    "config": Rule(callable, "a class or function that returns a config") | LEFT_OUT,
}


@dataclass(frozen=True, kw_only=True)
class ProbeRequest:
    """The model whose sizes are tried, called as `model_cls(**model_kwargs, **{size_param: size})`.

    Attributes:
        sizes: further arguments that a size sets: expressions by name, or a list of rows (`flops_fit.sizes.dial`).
        config: a class or function that takes all of these instead, and what it gives is `model_cls`'s argument.
        dial: what a size sets, made of `size_param` and `sizes`.
    """

    model_cls: Callable[..., Any]
    size_param: str = None  # type: ignore[assignment]  # a name once it is made
    model_kwargs: Mapping[str, Any] = field(default_factory=dict)
    sizes: Any = None
    config: Callable[..., Any] | None = None
    options: SizeOptions = field(default_factory=SizeOptions)
    dial: Dial = field(init=False)

    def __post_init__(self) -> None:
        check_fields(self, _REQUEST_RULES, ModelContractError)
        object.__setattr__(self, "model_kwargs", dict(self.model_kwargs))
        object.__setattr__(self, "dial", dial_of(self.size_param, self.sizes, self.model_kwargs))
        object.__setattr__(self, "size_param", self.dial.size_param)
        if self.dial.values is not None:
            self._refuse_other_sizes()

    def _refuse_other_sizes(self) -> None:
        for name in ("min_size", "max_size", "size_values", "size_multiple"):
            if getattr(self.options, name) is not None:
                raise PlanError(
                    f"{name} = {getattr(self.options, name)!r} with a table of sizes, which are those there are; take "
                    f"{name} out, and rows that are not wanted"
                )

    @property
    def name(self) -> str:
        """Of the class, factory or partial's function."""
        return _name_of(self.model_cls)

    @property
    def called(self) -> Callable[..., Any]:
        """What gets the arguments: the config where there is one, else the model."""
        return self.config or self.model_cls

    @property
    def called_name(self) -> str:
        """Of the class, factory or partial's function that gets the arguments."""
        return _name_of(self.called)

    @property
    def size_values(self) -> tuple[int, ...] | None:
        """The only sizes that are tried; None where they are searched for."""
        values = self.options.size_values
        return self.dial.values if values is None else tuple(values)

    def at(self, size: int) -> str:
        """`"width=64"`, or the label of a row."""
        return self.dial.label(size) or f"{self.size_param}={size}"

    @cached_property
    def passes_size(self) -> bool:
        """Whether the size parameter is an argument of the model, and not what others follow from alone."""
        if not self.dial.is_argument or not isinstance(self.sizes, Mapping):
            return self.dial.is_argument
        return takes(self.called, self.size_param)

    def build(self, size: int, arguments: Mapping[str, Any] | None = None) -> Any:
        """The model of a size; `arguments` are what it sets besides the size parameter, where that is known."""
        given = self.dial.arguments(size) if arguments is None else arguments
        own = {self.size_param: size} if self.passes_size else {}
        return build_model(self.model_cls, {**self.model_kwargs, **own, **given}, self.config)


def _name_of(function: Callable[..., Any]) -> str:
    return str(getattr(getattr(function, "func", function), "__name__", type(function).__name__))
