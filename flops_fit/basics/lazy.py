"""A package's names, each loaded from its module when it is first asked for: importing the package stays light."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Mapping
from typing import Any


def lazy_names(package: str, modules: Mapping[str, str]) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """`__getattr__` and `__dir__` for the `__init__` of `package`; `modules` says in which of its modules a name is."""

    def load(name: str) -> Any:
        if name not in modules:
            known = ", ".join(vars(sys.modules[package])["__all__"])
            raise AttributeError(f"module {package!r} has no attribute {name!r}; it has {known}")
        value = getattr(importlib.import_module(f"{package}.{modules[name]}"), name)
        setattr(sys.modules[package], name, value)
        return value

    return load, lambda: sorted(vars(sys.modules[package])["__all__"])
