"""Batches, whatever they are nested in: their tensors moved, counted and cut."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from flops_fit.errors import ModelContractError
from flops_fit.loss import split_batch


def to_device(batch: Any, device: torch.device) -> Any:
    """`batch` with every tensor on `device`, whatever tuples, lists and dicts it is nested in."""
    if isinstance(batch, torch.Tensor):
        return batch.to(device, non_blocking=True)
    if isinstance(batch, dict):
        return {key: to_device(value, device) for key, value in batch.items()}
    if isinstance(batch, tuple | list):
        return type(batch)(to_device(value, device) for value in batch)
    return batch


def batch_size(batch: Any) -> int:
    """Examples in a batch: the first dimension of its first tensor."""
    if isinstance(batch, torch.Tensor):
        return len(batch)
    return batch_size(next(iter(batch.values() if isinstance(batch, dict) else batch)))


def slice_batch(batch: Any, first: int, end: int) -> Any:
    """The examples from `first` to before `end` of every tensor in `batch`."""
    if isinstance(batch, torch.Tensor):
        return batch[first:end]
    if isinstance(batch, dict):
        return {key: slice_batch(value, first, end) for key, value in batch.items()}
    if isinstance(batch, tuple | list):
        return type(batch)(slice_batch(value, first, end) for value in batch)
    return batch


def batch_examples(batch: Any) -> int:
    """Leading dimension of the first tensor in the batch."""
    first = _first_tensor(split_batch(batch)[0])
    if first is None or first.ndim == 0 or first.shape[0] == 0:
        raise ModelContractError("sample_batch has no tensor with a batch dimension; give what the data loader yields")
    return int(first.shape[0])


def unit_of(batch: Any) -> str:
    """What one unit of data is: a "token" where the inputs are integers (or unknown), otherwise an "example"."""
    first = None if batch is None else _first_tensor(split_batch(batch)[0])
    return "example" if first is not None and first.is_floating_point() else "token"


def to_meta(value: Any) -> Any:
    """Tensors in any nesting of mappings, tuples and lists, and modules (copied), moved to the meta device."""
    if isinstance(value, torch.Tensor):
        return value.to("meta")
    if isinstance(value, nn.Module):
        return copy.deepcopy(value).to("meta")
    if isinstance(value, Mapping):
        return {key: to_meta(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        moved = [to_meta(item) for item in value]
        return type(value)(*moved) if hasattr(value, "_fields") else type(value)(moved)
    return value


def _first_tensor(value: Any) -> torch.Tensor | None:
    if isinstance(value, torch.Tensor):
        return value
    items = value.values() if isinstance(value, Mapping) else value if isinstance(value, tuple | list) else ()
    return next((found for found in map(_first_tensor, items) if found is not None), None)
