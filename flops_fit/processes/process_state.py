"""What code may change in its whole process, put back afterwards, so that one experiment does not reach another."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.nn.modules import module as module_internals


@contextmanager
def process_state_kept() -> Iterator[None]:
    """Afterwards these are as before: the environment, the working directory and the streams that are printed to;
    torch's default type and device, threads, gradient mode, determinism, precisions and global module hooks.
    """
    environment, directory = dict(os.environ), os.getcwd()
    hooks = [(registry, dict(registry)) for registry in _global_hooks()]
    settings = [(getter, setter, getter()) for getter, setter in _SETTINGS]
    try:
        with _streams_kept():
            yield
    finally:
        for getter, setter, value in settings:
            if getter() != value:  # some, set to what they are, would still slow every call down
                setter(value)
        for registry, content in hooks:
            registry.clear()
            registry.update(content)
        if os.environ != environment:
            os.environ.clear()
            os.environ.update(environment)
        os.chdir(directory)


@contextmanager
def _streams_kept() -> Iterator[None]:
    """Standard input, output and error, which may be closed or replaced inside, or their numbers given to files."""
    saved = {number: os.dup(number) for number in (0, 1, 2) if _is_open(number)}
    streams = {name: getattr(sys, name) for name in ("stdin", "stdout", "stderr")}
    try:
        yield
    finally:
        for number, copy in saved.items():
            os.dup2(copy, number)
            os.close(copy)
        for number, (name, stream) in enumerate(streams.items()):
            if getattr(stream, "closed", False) and number in saved:
                stream = open(number, "w" if number else "r", closefd=False)  # noqa: SIM115 (it replaces the closed one)
            setattr(sys, name, stream)


def _is_open(number: int) -> bool:
    try:
        os.fstat(number)
    except OSError:
        return False
    return True


_MATMUL: tuple[Any, ...] = (torch.backends.cuda.matmul, torch.backends.mkldnn.matmul)  # type: ignore[attr-defined]


def _precisions() -> list[str]:
    return [backend.fp32_precision for backend in _MATMUL]


def _set_precisions(values: list[str]) -> None:
    for backend, value in zip(_MATMUL, values, strict=True):
        backend.fp32_precision = value


def _older_precision() -> str | None:
    """What torch's older setting says; None where somebody has used the newer ones, beside which it cannot be read."""
    try:
        return torch.get_float32_matmul_precision()
    except RuntimeError:
        return None


def _set_older_precision(value: str | None) -> None:
    if value is not None:
        torch.set_float32_matmul_precision(value)


_SETTINGS: tuple[tuple[Any, Any], ...] = (
    (torch.get_default_dtype, torch.set_default_dtype),
    (torch.get_default_device, torch.set_default_device),
    (torch.get_num_threads, torch.set_num_threads),
    (torch.is_grad_enabled, torch.set_grad_enabled),
    (torch.get_deterministic_debug_mode, torch.set_deterministic_debug_mode),
    (_older_precision, _set_older_precision),  # which sets the newer ones too
    (_precisions, _set_precisions),
)


def _global_hooks() -> list[dict[Any, Any]]:
    """Torch's registries of hooks on every module."""
    named = vars(module_internals).items()
    return [value for name, value in named if name.startswith("_global_") and isinstance(value, dict)]
