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
    settings = [(setter, getter()) for getter, setter in _SETTINGS]
    try:
        with _streams_kept():
            yield
    finally:
        for setter, value in settings:
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


def _set_device(device: torch.device) -> None:
    if torch.get_default_device() != device:  # setting it to what it is would still slow every call down
        torch.set_default_device(device)


def _set_threads(threads: int) -> None:
    if torch.get_num_threads() != threads:
        torch.set_num_threads(threads)


def _set_determinism(mode: int) -> None:
    if torch.get_deterministic_debug_mode() != mode:
        torch.set_deterministic_debug_mode(mode)


_SETTINGS: tuple[tuple[Any, Any], ...] = (
    (torch.get_default_dtype, torch.set_default_dtype),
    (torch.get_default_device, _set_device),
    (torch.get_num_threads, _set_threads),
    (torch.is_grad_enabled, torch.set_grad_enabled),
    (torch.get_deterministic_debug_mode, _set_determinism),
    (torch.get_float32_matmul_precision, torch.set_float32_matmul_precision),
)


def _global_hooks() -> list[dict[Any, Any]]:
    """Torch's registries of hooks on every module."""
    named = vars(module_internals).items()
    return [value for name, value in named if name.startswith("_global_") and isinstance(value, dict)]
