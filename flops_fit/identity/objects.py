"""What an object holds, as far as it decides an outcome: the content of arrays, and the state of instances."""

from __future__ import annotations

import collections
import dataclasses
import decimal
import enum
import fractions
import functools
import hashlib
import inspect
import re
import sys
import types
from collections.abc import Mapping
from typing import Any

_NUMBERS = (complex, decimal.Decimal, fractions.Fraction)
_TELLING = (bytes, enum.Enum, range, re.Pattern, set, frozenset, collections.deque, types.SimpleNamespace, Mapping)


def name_of(thing: Any) -> str:
    """`"package.module:Qualified.name"`."""
    return f"{getattr(thing, '__module__', '')}:{getattr(thing, '__qualname__', repr(type(thing)))}"


def public_name_of(thing: Any) -> str:
    """`name_of` without private modules of Python, which are others in another version: `"pathlib:Path"`."""
    module, _, name = name_of(thing).partition(":")
    first, *inner = module.split(".")
    public = [part for part in inner if first == "torch" or not part.startswith("_")]
    return f"{'.'.join([first, *public])}:{name}"


def is_plain(value: Any) -> bool:
    """Whether it is a constant of plain Python."""
    return value is None or isinstance(value, bool | int | float | str | tuple | list | dict)


def is_code(value: Any) -> bool:
    """Whether it is a class, function, method or partial."""
    return inspect.isclass(value) or inspect.isroutine(value) or isinstance(value, functools.partial)


def is_telling(value: Any) -> bool:
    """Whether its `repr` or its items say all of it, as of text in bytes or of a number of another kind."""
    return isinstance(value, (*_NUMBERS, *_TELLING)) or is_array(value) or name_of(type(value)) == "torch:dtype"


def is_array(value: Any) -> bool:
    """Whether it is an array of NumPy or a tensor."""
    numpy, torch = sys.modules.get("numpy"), sys.modules.get("torch")
    return (numpy is not None and isinstance(value, numpy.ndarray)) or (
        torch is not None and isinstance(value, getattr(torch, "Tensor", ()))
    )


def is_torch_module(value: Any) -> bool:
    """Whether it is an `nn.Module`."""
    nn = sys.modules.get("torch.nn")
    return nn is not None and isinstance(value, nn.Module)


def array_content(array: Any) -> list[Any]:
    """Type, shape and digest of the numbers."""
    about = [str(array.dtype), [int(length) for length in array.shape]]
    if hasattr(array, "detach"):
        if array.is_meta or array.layout is not sys.modules["torch"].strided:
            return [*about, "" if array.is_meta else repr(array)]
        array = array.detach().cpu().contiguous().reshape(-1).view(sys.modules["torch"].uint8).numpy()
    content = repr(array.tolist()).encode() if array.dtype.hasobject else array.tobytes()
    return [*about, hashlib.sha256(content).hexdigest()]


def state_of(instance: Any) -> dict[str, Any]:
    """Attribute → value of an instance: a module's settings, weights and parts, a dataclass's fields, or `vars`.

    What was computed from others and kept (`functools.cached_property`) is left out.
    """
    if is_torch_module(instance):
        own = {name: value for name, value in vars(instance).items() if not name.startswith("_")}
        return own | dict(instance._parameters) | dict(instance._buffers) | dict(instance._modules)
    if dataclasses.is_dataclass(instance):
        return {item.name: getattr(instance, item.name, None) for item in dataclasses.fields(instance)}
    slots = [name for kind in type(instance).__mro__ for name in _slots(kind) if hasattr(instance, name)]
    own = {name: getattr(instance, name) for name in slots} | getattr(instance, "__dict__", {})
    return {name: value for name, value in own.items() if not _is_cached(type(instance), name)}


def described(instance: Any) -> str:
    """An object by its class and its `repr`, unless that repr is a memory address."""
    text = repr(instance)
    return "" if " at 0x" in text else text


def _slots(kind: type) -> list[str]:
    slots = vars(kind).get("__slots__", ())
    return [slots] if isinstance(slots, str) else [name for name in slots if name not in ("__dict__", "__weakref__")]


def _is_cached(kind: type, name: str) -> bool:
    return isinstance(inspect.getattr_static(kind, name, None), functools.cached_property)
