"""Devices: which one, and what precision."""

from __future__ import annotations

import os
from contextlib import nullcontext
from typing import Any

import torch

_MEMORY_SHARE = 0.95  # of a GPU that processes on it may take together: each needs some beside what torch counts
ALL_GPUS = "FLOPS_FIT_GPUS"  # those that a worker's training may take besides the one that it sees


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
    names = all_gpus(device)
    return [{"CUDA_VISIBLE_DEVICES": name, ALL_GPUS: ",".join(names)} for name in names] or [{}]


def all_gpus(device: str) -> list[str]:
    """The GPUs that trainings on `device` may take, as `CUDA_VISIBLE_DEVICES` names them; none on the CPU.

    A worker process, which sees one of them, knows all.
    """
    if device not in ("auto", "cuda") or not torch.cuda.is_available():
        return []
    visible = os.environ.get(ALL_GPUS) or os.environ.get("CUDA_VISIBLE_DEVICES")
    return visible.split(",") if visible else [str(index) for index in range(torch.cuda.device_count())]


def cap_memory(processes: int) -> None:
    """Give this process its part of its GPU's memory, where so many `processes` share one; more is out of memory."""
    if processes > 1 and torch.cuda.is_available():
        torch.cuda.set_per_process_memory_fraction(_MEMORY_SHARE / processes)


def device_name(device: torch.device) -> str:
    """`"cpu"`, or the GPU's own name."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
