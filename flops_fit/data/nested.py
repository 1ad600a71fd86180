"""Batches, whatever they are nested in: their tensors moved, counted and cut by one walk."""

from __future__ import annotations

import copy
import dataclasses
from collections import UserDict
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn

from flops_fit.errors import DataError, ModelContractError
from flops_fit.loss import inputs_of


def map_leaves(function: Callable[[Any], Any], value: Any) -> Any:
    """`value` with `function` applied to whatever in it is no container; the containers keep their types.

    Containers are tuples (named ones too), lists, dicts and what is derived from them, `UserDict`s such as Hugging
    Face's `BatchEncoding`, and dataclasses. Any other mapping, which may not be written to, becomes a dict. (PyTorch's
    own `tree_map` takes a `UserDict`, a class derived from dict and a dataclass for leaves.)
    """
    if isinstance(value, dict | UserDict):
        changed = copy.copy(value)
        for key, item in value.items():
            changed[key] = map_leaves(function, item)
        return changed
    if isinstance(value, Mapping):
        return {key: map_leaves(function, item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        items = [map_leaves(function, item) for item in value]
        return type(value)(*items) if hasattr(value, "_fields") else type(value)(items)
    if dataclasses.is_dataclass(value) and not isinstance(value, type | nn.Module):
        renewed = copy.copy(value)
        for item in dataclasses.fields(value):
            object.__setattr__(renewed, item.name, map_leaves(function, getattr(value, item.name)))
        return renewed
    return function(value)


def to_device(batch: Any, device: torch.device) -> Any:
    """`batch` with every tensor on `device`."""

    def move(leaf: Any) -> Any:
        return leaf.to(device, non_blocking=True) if isinstance(leaf, torch.Tensor) else leaf

    return map_leaves(move, batch)


def to_meta(value: Any) -> Any:
    """`value` with every tensor and (copied) module on the meta device."""

    def move(leaf: Any) -> Any:
        if isinstance(leaf, nn.Module):
            return copy.deepcopy(leaf).to("meta")
        return leaf.to("meta") if isinstance(leaf, torch.Tensor) else leaf

    return map_leaves(move, value)


def batch_size(batch: Any) -> int:
    """Examples in a batch: the first dimension of its first tensor that has one.

    Raises `ModelContractError` where there is none, or no example.
    """
    size = next((len(tensor) for tensor in tensors_in(batch) if tensor.ndim), 0)
    if size == 0:
        raise ModelContractError(
            f"a batch ({type(batch).__name__}) has no tensor with a batch dimension, or no example; "
            "give what the data loader yields"
        )
    return size


def slice_batch(batch: Any, first: int, end: int) -> Any:
    """The examples from `first` to before `end` of every tensor in `batch`; a tensor without dimensions is shared.

    Raises `DataError` for a tensor whose first dimension is not the batch's, as no one can tell what its part would be.
    """
    total = batch_size(batch)

    def part(leaf: Any) -> Any:
        if not isinstance(leaf, torch.Tensor) or leaf.ndim == 0:
            return leaf
        if len(leaf) != total:
            raise DataError(
                f"a batch of {total} examples holds a tensor of shape {tuple(leaf.shape)}, so it cannot be trained on "
                "in parts; make the first dimension of every tensor the examples"
            )
        return leaf[first:end]

    return map_leaves(part, batch)


def batch_examples(batch: Any) -> int:
    """Examples in a batch, told by its inputs."""
    return batch_size(inputs_of(batch))


def unit_of(batch: Any) -> str:
    """What one unit of data is: a "token" where the inputs are ids (B,) or (B, T), or unknown, otherwise an "example".

    Integers of more dimensions are images.
    """
    first = None if batch is None else next(iter(tensors_in(inputs_of(batch))), None)
    return "example" if first is not None and (first.is_floating_point() or first.ndim > 2) else "token"


def tensors_in(value: Any) -> list[torch.Tensor]:
    """Every tensor in `value`, in order."""
    found: list[torch.Tensor] = []

    def look(leaf: Any) -> Any:
        if isinstance(leaf, torch.Tensor):
            found.append(leaf)
        return leaf

    map_leaves(look, value)
    return found
