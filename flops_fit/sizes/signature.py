"""What a class or function says that it can be called with."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

Parameters = Mapping[str, inspect.Parameter]


def takes(function: Callable[..., Any], name: str) -> bool:
    """Whether `function` names this argument, or names none and takes any; true where it does not say."""
    parameters = parameters_of(function)
    return parameters is None or is_named(function, name) or not named(parameters)


def parameters_of(function: Callable[..., Any]) -> Parameters | None:
    """None for some built-in callables, which have no signature."""
    try:
        return inspect.signature(function).parameters
    except (TypeError, ValueError):
        return None


def named(parameters: Parameters) -> list[str]:
    """Those with a name of their own."""
    return [name for name, item in parameters.items() if item.kind not in (item.VAR_KEYWORD, item.VAR_POSITIONAL)]


def swallows(parameters: Parameters) -> bool:
    """Whether any other name is taken too."""
    return any(item.kind is item.VAR_KEYWORD for item in parameters.values())


def is_named(function: Callable[..., Any], name: str) -> bool:
    """Whether it is an argument by this name, or by another for it, as Hugging Face's configs have them."""
    parameters = parameters_of(function) or {}
    return name in named(parameters) or name in (getattr(function, "attribute_map", None) or {})
