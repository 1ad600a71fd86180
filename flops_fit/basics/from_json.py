"""Plain JSON values → dataclasses, every type checked: what a damaged or foreign file holds is refused by name."""

from __future__ import annotations

import functools
import math
import reprlib
import sys
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, fields, is_dataclass
from typing import Any, TypeVar

from flops_fit.errors import FileError

T = TypeVar("T")
NULL_IS_NAN, NULL_IS_INFINITY = {"null": math.nan}, {"null": math.inf}  # metadata of a field: how null is read
_DEEPEST = 50  # nested values of no declared type
_LARGEST = 2**63  # of a whole number
_SHOWN = reprlib.Repr()
_SHOWN.maxstring = _SHOWN.maxother = _SHOWN.maxlong = 60
_WORDS = {int: "a whole number", float: "a finite number", str: "text", bool: "true or false", types.NoneType: "null"}


def from_json(kind: Callable[..., T], content: Any, where: str = "", *, without: Sequence[str] = ()) -> T:
    """The dataclass `kind` with the fields in `content`, which may also be a list of their values in order.

    Args:
        content: a JSON object with every field that has no default, and none that is unknown.
        where: what `content` is called in errors.
        without: keys of `content` that are no fields.

    Raises `FileError` naming the value, where it is, and what it must be; also for what `kind` itself refuses.
    """
    known = {item.name: item for item in fields(kind) if item.init}  # type: ignore[arg-type]
    if isinstance(content, list) and len(content) == len(known):
        content = dict(zip(known, content, strict=True))
    if not isinstance(content, Mapping):
        raise _wrong(where or kind.__name__, content, "an object")
    given = {name: value for name, value in content.items() if name not in without}
    missing = [name for name, item in known.items() if _is_required(item) and name not in given]
    if missing or given.keys() - known.keys():
        problem = f"lacks {missing[0]}" if missing else f"has an unknown field {min(given.keys() - known.keys())!r}"
        raise FileError(f"{where or kind.__name__} {problem}")
    hints = _hints(kind)
    values = {
        name: known[name].metadata["null"]
        if value is None and "null" in known[name].metadata
        else _value(hints[name], value, f"{where}.{name}" if where else name)
        for name, value in given.items()
    }
    try:
        return kind(**values)
    except (TypeError, ValueError, ArithmeticError) as error:
        raise FileError(f"{where or kind.__name__}: {error}") from error


@functools.cache
def _hints(kind: Any) -> dict[str, Any]:
    return typing.get_type_hints(kind)


def _is_required(item: Any) -> bool:
    return item.default is MISSING and item.default_factory is MISSING


def _value(hint: Any, value: Any, where: str) -> Any:
    """`value` as `hint` says; raises `FileError`."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return _one_of(arguments, value, where)
    if origin in (tuple, list):
        return _sequence(origin, arguments, value, where)
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return _mapping(arguments[1], value, where)
    if isinstance(hint, type) and is_dataclass(hint):
        return from_json(hint, value, where)
    if hint is Any:
        _check_plain(value, where)
        return value
    if getattr(hint, "__name__", "") == "ndarray":
        return _array(value, where)
    if not _is_scalar(hint, value):
        raise _wrong(where, value, _WORDS.get(hint, f"of type {hint}"))
    return value


def _one_of(kinds: Sequence[Any], value: Any, where: str) -> Any:
    if value is None and types.NoneType in kinds:
        return None
    others = [kind for kind in kinds if kind is not types.NoneType]
    if len(others) == 1:
        return _value(others[0], value, where)
    for kind in others:
        try:
            return _value(kind, value, where)
        except FileError:
            continue
    raise _wrong(where, value, " or ".join(_WORDS.get(kind, str(kind)) for kind in others))


def _sequence(origin: Any, arguments: Sequence[Any], value: Any, where: str) -> Any:
    if not isinstance(value, list | tuple):
        raise _wrong(where, value, "a list")
    if origin is tuple and arguments[-1] is not ...:
        if len(value) != len(arguments):
            raise _wrong(where, value, f"a list of {len(arguments)} values")
        hints: Sequence[Any] = arguments
    else:
        hints = [arguments[0]] * len(value)
    return origin(_value(hints[at], item, f"{where}[{at}]") for at, item in enumerate(value))


def _mapping(hint: Any, value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise _wrong(where, value, "an object")
    _check_plain(list(value), where)
    return {name: _value(hint, item, f"{where}.{name}") for name, item in value.items()}


def _array(value: Any, where: str) -> Any:
    """Lists of numbers, of as many each where they are nested, as an array; null is NaN."""
    import numpy as np

    limit = "a list of finite numbers, or of equally long lists of them"
    if not isinstance(value, list):
        raise _wrong(where, value, limit)
    try:
        array = np.array(_numbers(value))
    except ValueError as error:
        raise _wrong(where, value, limit) from error
    return array if array.dtype.kind == "i" else array.astype(float)


def _numbers(value: Any) -> Any:
    if isinstance(value, list):
        return [_numbers(item) for item in value]
    if value is not None and not _is_scalar(float, value):
        raise ValueError
    return math.nan if value is None else value


def _is_scalar(hint: Any, value: Any) -> bool:
    if hint is int:
        return type(value) is int and abs(value) < _LARGEST
    if hint is float:
        return type(value) in (int, float) and abs(value) <= sys.float_info.max  # not NaN either
    if hint is str:
        return isinstance(value, str) and _is_unicode(value)
    return type(value) is hint


def _is_unicode(text: str) -> bool:
    """Whether text can be written: half of a surrogate pair, which JSON can hold, cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _check_plain(value: Any, where: str, depth: int = 0) -> None:
    """Refuse what no declared type describes and cannot be written again: too deep, not finite, half characters."""
    if depth > _DEEPEST:
        raise FileError(f"{where} is nested more than {_DEEPEST} deep")
    if isinstance(value, Mapping | list):
        inside = [*value, *value.values()] if isinstance(value, Mapping) else value
        for item in inside:
            _check_plain(item, where, depth + 1)
    elif not (value is None or any(_is_scalar(kind, value) for kind in (bool, float, str))):
        raise _wrong(where, value, "a plain JSON value")


def _wrong(where: str, value: Any, limit: str) -> FileError:
    return FileError(f"{where} = {ascii(_SHOWN.repr(value))[1:-1]} must be {limit}")


def without_empty(content: dict[str, Any], *names: str) -> dict[str, Any]:
    """`content` without those of `names` that are None or empty, as what is written of a field that few have."""
    for name in names:
        if content[name] is None or content[name] in ("", (), [], {}):
            del content[name]
    return content
