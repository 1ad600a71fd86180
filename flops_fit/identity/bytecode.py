"""What classes and functions do, and refer to, where their bytecode alone is there to tell."""

from __future__ import annotations

import dis
import hashlib
import inspect
import types
from collections.abc import Iterator
from typing import Any

from flops_fit.identity.objects import name_of
from flops_fit.identity.origin import COMMON, origin

NOT_FILLED = object()


def methods_of(kind: type) -> Iterator[tuple[str, Any]]:
    """Name and function of every method, also of properties and static ones, that somebody wrote."""
    for name, value in sorted(vars(kind).items()):
        inner = value.fget if isinstance(value, property) else getattr(value, "__func__", value)
        if inspect.isfunction(inner) and not inner.__code__.co_filename.startswith("<string>"):
            yield name, inner


def codes_of(kind: type) -> list[types.CodeType]:
    """The code of the methods of a class."""
    return [method.__code__ for _, method in methods_of(kind)]


def closed_over_by(function: Any) -> Iterator[Any]:
    """The values of the variables that a function takes from those around it."""
    return (value for _, value in variables_around(function) if value is not NOT_FILLED)


def variables_around(function: Any) -> Iterator[tuple[str, Any]]:
    """Name and value of those variables; `NOT_FILLED` for one that has no value yet."""
    names = getattr(getattr(function, "__code__", None), "co_freevars", ())
    for name, cell in zip(names, getattr(function, "__closure__", None) or (), strict=False):
        try:
            yield name, cell.cell_contents
        except ValueError:
            yield name, NOT_FILLED


def chains_of(function: Any) -> list[tuple[str, ...]]:
    """Global names with the attributes asked of them, as `chains_in`, of a function (one with a cache too) or class."""
    functions = [method for _, method in methods_of(function)] if inspect.isclass(function) else [function]
    codes = [getattr(inspect.unwrap(each), "__code__", None) for each in functions]
    return [chain for code in codes if code is not None for chain in _chains_in(code)]


def _chains_in(code: types.CodeType) -> list[tuple[str, ...]]:
    found: dict[tuple[str, ...], None] = {}
    chain: tuple[str, ...] = ()
    for step in dis.get_instructions(code):
        if step.opname in ("LOAD_ATTR", "LOAD_METHOD") and chain:
            chain = (*chain, step.argval)
            continue
        found |= {chain: None} if chain else {}
        chain = (step.argval,) if step.opname in ("LOAD_GLOBAL", "LOAD_NAME") else ()
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            found |= dict.fromkeys(_chains_in(constant))
    return [*found]


def behaviour(function: Any) -> Any:
    """What a function or class without source does: bytecode, of a class that of its methods and what its bases are."""
    if not inspect.isclass(function):
        return _bytecode(getattr(function, "__code__", None))
    methods = {name: _bytecode(value.__code__) for name, value in vars(function).items() if inspect.isfunction(value)}
    bases = [name_of(base) if origin(base) == COMMON else behaviour(base) for base in function.__bases__]
    return [methods, bases]


def _bytecode(code: Any) -> str:
    """Instructions and constants of a function without source; nested functions by their own code."""
    if code is None:
        return ""
    constants = [_bytecode(value) if hasattr(value, "co_code") else repr(value) for value in code.co_consts]
    return hashlib.sha256(repr((code.co_code, code.co_names, constants)).encode()).hexdigest()
