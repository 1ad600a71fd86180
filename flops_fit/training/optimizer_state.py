"""An optimizer's state as JSON text and tensors, exactly: what is put back is what was taken apart."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import torch

from flops_fit.errors import StudyError
from flops_fit.training.evaluation import tensors_sha256
from flops_fit.training.optimizer import ScheduledOptimizer

_PREFIX = "optimizer/"


def taken_apart(optimizer: ScheduledOptimizer) -> tuple[str, dict[str, torch.Tensor]]:
    """The state of every part as JSON, in which `{"tensor": name}` stands for a tensor, and the tensors by name.

    Raises `StudyError` where it holds what neither JSON nor a tensor can: numbers, text, lists, tuples, mappings and
    None are kept as they are.
    """
    tensors: dict[str, torch.Tensor] = {}
    plain = [_plain(part.state_dict(), f"{_PREFIX}{number}", tensors) for number, part in enumerate(optimizer.parts)]
    return json.dumps(plain), tensors


def put_back(optimizer: ScheduledOptimizer, text: str, tensors: Mapping[str, torch.Tensor]) -> None:
    """Give `optimizer` the state that `taken_apart` gave of one made alike.

    Raises `StudyError` where it then has another state than was saved, as the training would end with another result.
    """
    saved = _states(text, tensors)
    for part, state in zip(optimizer.parts, saved, strict=True):
        part.load_state_dict(state)
        for index, values in part.state_dict()["state"].items():
            if isinstance(values, dict):
                values |= _as_saved(state["state"].get(index, {}), values)
    again, of_again = taken_apart(optimizer)
    names = [name for name in tensors if name.startswith(_PREFIX)]
    if again != text or tensors_sha256(of_again) != tensors_sha256({name: tensors[name] for name in names}):
        raise StudyError(
            f"the optimizer ({', '.join(type(part).__name__ for part in optimizer.parts)}) takes back another state "
            "than its state_dict() gave, so a killed training would end with another result; correct its "
            "load_state_dict()"
        )


def group_sizes(text: str) -> list[int]:
    """Parameters of each group of all parts, in a state as JSON."""
    return [len(group["params"]) for state in _states(text, {}) for group in state["param_groups"]]


def _states(text: str, tensors: Mapping[str, torch.Tensor]) -> list[dict[str, Any]]:
    return [_restored(part, tensors) for part in json.loads(text)]


def _plain(value: Any, name: str, tensors: dict[str, torch.Tensor]) -> Any:
    if value is None or type(value) in (bool, int, float, str):
        return value
    if isinstance(value, torch.Tensor):
        tensors[name] = value
        return {"tensor": name}
    if type(value) in (list, tuple):
        return {type(value).__name__: [_plain(item, f"{name}/{at}", tensors) for at, item in enumerate(value)]}
    if isinstance(value, dict):
        return {
            "dict": [[_plain(key, name, {}), _plain(item, f"{name}/{key}", tensors)] for key, item in value.items()]
        }
    raise StudyError(
        f"the optimizer's state holds {value!r:.80} ({type(value).__name__}) at {name}, which a checkpoint cannot "
        "keep; keep tensors, numbers, text, lists or mappings in it"
    )


def _restored(plain: Any, tensors: Mapping[str, torch.Tensor]) -> Any:
    if not isinstance(plain, dict):
        return plain
    ((kind, content),) = plain.items()
    if kind == "tensor":
        return tensors.get(content)
    if kind == "dict":
        return {_restored(key, tensors): _restored(item, tensors) for key, item in content}
    items = [_restored(item, tensors) for item in content]
    return tuple(items) if kind == "tuple" else items


def _as_saved(saved: Any, now: Any) -> Any:
    """`saved`, its tensors on the devices of those in `now`.

    Torch casts what it takes up to its parameter's type, and turns text into the name of a generator.
    """
    if isinstance(saved, torch.Tensor):
        return saved.to(now.device) if isinstance(now, torch.Tensor) else saved
    if isinstance(saved, dict):
        there = now if isinstance(now, dict) else {}
        return {key: _as_saved(value, there.get(key)) for key, value in saved.items()}
    if isinstance(saved, list | tuple):
        alike = isinstance(now, list | tuple) and len(now) == len(saved)
        return type(saved)(_as_saved(item, now[at] if alike else None) for at, item in enumerate(saved))
    return saved
