"""What a model or a loss keeps from step to step beside what a checkpoint has.

A stack hands each training on by its checkpoint, so what is not in that would be lost before the evaluation.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import nn

_BY_TORCH = ("_parameters", "_buffers", "_modules")  # of a module, which are looked at as such
_PLAIN = (bool, int, float, complex, str, bytes)  # that are the same where they are equal


def kept_by(holder: Any, saved: Collection[str] = ()) -> dict[str, list[Any]]:
    """Name → what a model, or a loss that may be any object, holds besides parameters and the buffers that are `saved`.

    For `changed`, which says what of it is another later. A tensor with a history of operations is left out: it is of
    one step alone.
    """
    if not isinstance(holder, nn.Module):
        return {name: [*_parts(value)] for name, value in getattr(holder, "__dict__", {}).items()}
    found = {name: [*_parts(buffer)] for name, buffer in holder.named_buffers() if name not in saved}
    for path, module in holder.named_modules():
        own = {name: value for name, value in vars(module).items() if name not in _BY_TORCH}
        found |= {f"{path}.{name}" if path else name: [*_parts(value)] for name, value in own.items()}
    return found


def changed(before: Mapping[str, list[Any]], after: Mapping[str, list[Any]]) -> str | None:
    """The name of the first that is not as it was; None where all are."""
    return next((name for name in after if not _same(before.get(name), after[name])), None)


def _parts(value: Any) -> Iterator[Any]:
    """What tells later whether `value` is still the same: things to be found again, and numbers to be equal."""
    if isinstance(value, torch.Tensor):
        if value.grad_fn is None:
            yield from (value, value._version)
    elif isinstance(value, np.ndarray):
        yield value.tobytes()
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield key
            yield from _parts(item)
    elif isinstance(value, list | tuple | set | frozenset | deque):
        yield type(value)
        for item in value:
            yield from _parts(item)
    else:
        yield value


def _same(before: list[Any] | None, after: list[Any]) -> bool:
    if before is None or len(before) != len(after):
        return False
    return all(
        one is other or (type(one) is type(other) and isinstance(one, _PLAIN) and one == other)
        for one, other in zip(before, after, strict=True)
    )
