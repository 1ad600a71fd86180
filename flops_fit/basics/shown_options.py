"""What `**options` takes, as a part of a function's signature: what editors and notebooks complete with Tab."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Container
from typing import Any, TypeVar

F = TypeVar("F", bound=Callable[..., Any])


def with_options(*sources: Any, without: Container[str] = ()) -> Callable[[F], F]:
    """A decorator that shows in the signature, in place of `**options`, the fields of dataclasses, the keyword
    arguments of functions and the names that these are; those in `without` and the function's own are left out. The
    function itself is returned, and checks its options as before."""

    def shown(function: F) -> F:
        own = inspect.signature(function)
        named = {name: item for name, item in own.parameters.items() if item.kind is not item.VAR_KEYWORD}
        for source in sources:
            for item in _parameters(source):
                if item.name not in without:
                    named.setdefault(item.name, item)
        function.__signature__ = own.replace(parameters=list(named.values()))  # type: ignore[attr-defined]
        return function

    return shown


def _parameters(source: Any) -> list[inspect.Parameter]:
    if isinstance(source, str):
        return [inspect.Parameter(source, inspect.Parameter.KEYWORD_ONLY, default=None)]
    if not dataclasses.is_dataclass(source):
        given = inspect.signature(source).parameters.values()
        return [item.replace(kind=item.KEYWORD_ONLY) for item in given if item.default is not item.empty]
    return [
        inspect.Parameter(item.name, inspect.Parameter.KEYWORD_ONLY, default=_default(item), annotation=item.type)
        for item in dataclasses.fields(source)
        if item.init
    ]


def _default(item: dataclasses.Field[Any]) -> Any:
    if item.default_factory is not dataclasses.MISSING:
        return item.default_factory()
    return None if item.default is dataclasses.MISSING else item.default
