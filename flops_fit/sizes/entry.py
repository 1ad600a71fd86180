"""A size of a model as its map has it, and one that the map has not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from flops_fit.basics.arguments import ARGUMENTS, LEFT_OUT, check_fields, number, whole

_ENTRY_RULES = {
    "size": whole(),
    "num_params": whole(),
    "flops_per_token": number(above=0),
    **dict.fromkeys(("total_params", "trainable_params", "non_embedding_params", "active_params"), whole(0) | LEFT_OUT),
    **dict.fromkeys(
        ("measured_flops_per_token", "recompute_flops_per_token", "activation_bytes_per_token", "own_flops_per_token"),
        number(least=0) | LEFT_OUT,
    ),
    "own_num_params": whole() | LEFT_OUT,
    "arguments": ARGUMENTS,
}


@dataclass(frozen=True, kw_only=True)
class SizeEntry:
    """One valid size.

    Attributes:
        num_params: N, by the map's convention (`SizeMap.param_count`).
        total_params, trainable_params, non_embedding_params: the three counts; None for what is no `nn.Module`.
        flops_per_token: forward and backward, by the map's method (`SizeMap.flops_method`).
        measured_flops_per_token: counted on the model's own operations, if a batch to measure with was given.
        recompute_flops_per_token: done again by activation checkpointing, on top of the measured.
        activation_bytes_per_token: memory that a forward pass keeps for the backward pass, if there was a batch.
        own_num_params: what the model's `num_params()` said, if it has one.
        source: how it was counted: "meta", "real" (built) or "polynomial" (extrapolated from smaller sizes).
        own_flops_per_token: what the model's own estimate says, if it has one.
        active_params: those that a token meets, where they are not all: in a mixture of experts.
        arguments: what the size sets besides the size parameter, by name.
        label: what it is called, where it is a row of a table.
    """

    size: int
    num_params: int
    flops_per_token: float
    total_params: int | None = None
    trainable_params: int | None = None
    non_embedding_params: int | None = None
    measured_flops_per_token: float | None = None
    recompute_flops_per_token: float | None = None
    activation_bytes_per_token: float | None = None
    own_num_params: int | None = None
    source: str = "meta"
    active_params: int | None = None
    own_flops_per_token: float | None = None
    arguments: Mapping[str, Any] = field(default_factory=dict, hash=False)
    label: str = ""

    def __post_init__(self) -> None:
        check_fields(self, _ENTRY_RULES)


@dataclass(frozen=True, kw_only=True)
class SkippedSize:
    """A size that was tried and is not in the map, and why.

    `num_params` is N of the one next above `max_params`, so that a plan can tell what it would use if it were there.
    """

    size: int
    reason: str
    num_params: int | None = None
    label: str = ""
