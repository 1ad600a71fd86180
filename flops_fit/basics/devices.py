"""Devices: which one, what precision; batches, moved there and cut into parts."""

from __future__ import annotations

import os
from contextlib import nullcontext
from typing import Any

import torch


def choose_device(name: str) -> torch.device:
    """`"auto"` is the first GPU where there is one, the CPU otherwise."""
    return torch.device(("cuda" if torch.cuda.is_available() else "cpu") if name == "auto" else name)


def autocast(precision: str, device: torch.device) -> Any:
    """The context of a forward pass: bfloat16 where the recipe or ("auto") the GPU says so, otherwise nothing."""
    on_gpu = device.type == "cuda" and torch.cuda.is_bf16_supported()
    if precision == "bfloat16" or (precision == "auto" and on_gpu):
        return torch.autocast(device.type, dtype=torch.bfloat16)
    return nullcontext()


def worker_environments(device: str) -> list[dict[str, str]]:
    """One environment per GPU, so that worker processes spread over them; an empty one where no GPU is to be used."""
    if device not in ("auto", "cuda") or not torch.cuda.is_available():
        return [{}]
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    names = visible.split(",") if visible else [str(index) for index in range(torch.cuda.device_count())]
    return [{"CUDA_VISIBLE_DEVICES": name} for name in names]


def device_name(device: torch.device) -> str:
    """`"cpu"`, or the GPU's own name."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


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
