"""What a class or function can be called with."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any


def signature_of(function: Callable[..., Any]) -> inspect.Signature | None:
    """None for some built-in callables, which have none.

    A Hugging Face config takes some arguments by other names too (its `attribute_map`), and keeps any other, whatever
    its signature says.
    """
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return None
    others = getattr(function, "attribute_map", None)
    if not isinstance(others, Mapping):
        return signature
    parameters = [item for item in signature.parameters.values() if item.kind is not item.VAR_KEYWORD]
    more = [name for name in others if name not in signature.parameters]
    kinds = inspect.Parameter
    parameters += [kinds(name, kinds.KEYWORD_ONLY, default=None) for name in more]
    return inspect.Signature([*parameters, kinds("others", kinds.VAR_KEYWORD)])


def named(signature: inspect.Signature) -> list[str]:
    """Arguments with a name of their own."""
    variable = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)
    return [name for name, item in signature.parameters.items() if item.kind not in variable]


def swallows(signature: inspect.Signature) -> bool:
    """Whether any other name is taken too."""
    return any(item.kind is item.VAR_KEYWORD for item in signature.parameters.values())


def takes(function: Callable[..., Any], name: str) -> bool:
    """Whether `function` names this argument, or names none and takes any; true where it does not say."""
    signature = signature_of(function)
    return signature is None or name in named(signature) or not named(signature)
