"""Whose code it is: Python's and torch's, an installed package's, or the user's own; and the file it is in."""

from __future__ import annotations

import functools
import importlib.util
import inspect
import os
import site
import sys
import sysconfig
from pathlib import Path
from typing import Any

OWN = ("flops_fit", "flops_fit_assets")  # the same source wherever and however it is installed
_HERE = Path(__file__).parents[1]
COMMON, INSTALLED, LOCAL = "common", "installed", "local"


def origin(thing: Any) -> str:
    """Whether a class, function or module is `COMMON` (Python's or torch's), `INSTALLED`, or `LOCAL`, the user's own.

    This library counts as local: what it holds is known by its source, whichever version it was installed with.
    """
    return _origin(package_of(thing), source_path(thing))


def origin_of_module(name: str) -> str:
    """`origin` of a module by its name, which is not imported for it."""
    return _origin(name.split(".", 1)[0], path_of_module(name.split(".", 1)[0]))


def _origin(package: str, path: str | None) -> str:
    if package in OWN:
        return LOCAL
    if path is None or package == "torch":
        return COMMON
    if path.startswith(_site_folders()):
        return INSTALLED
    of_python = [sysconfig.get_path(name) + os.sep for name in ("stdlib", "platstdlib")]
    return COMMON if path.startswith((*of_python, "<frozen")) else LOCAL


def is_users_file(path: str) -> bool:
    """Whether a line of code is the user's own: of no library, and not this one's but for its examples."""
    parents = Path(path).parents
    if any(_HERE.parent / package in parents for package in OWN):
        return _HERE / "examples" in parents
    return not path.startswith("<") and _origin("", path) == LOCAL


@functools.cache
def _site_folders() -> tuple[str, ...]:
    paths = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib"), *site.getsitepackages()}
    return tuple(path + os.sep for path in sorted(paths | {site.getusersitepackages()}))


def source_path(thing: Any) -> str | None:
    """The file it is defined in; "" where Python code has none (a console); None for what is built in."""
    if inspect.ismodule(thing):  # a namespace package has folders alone
        return getattr(thing, "__file__", None) or next(iter(getattr(thing, "__path__", ())), None)
    code = getattr(thing, "__code__", None)
    if code and code.co_filename.startswith("<frozen"):
        return code.co_filename
    try:
        return inspect.getsourcefile(code or thing) or ""
    except OSError:  # defined in a console or with `python -c`
        return ""
    except TypeError:
        return "" if code or getattr(thing, "__module__", "") == "__main__" else None


def module_of(thing: Any) -> str:
    """The name of the module it is defined in."""
    return str(thing.__name__ if inspect.ismodule(thing) else getattr(thing, "__module__", ""))


def package_of(thing: Any) -> str:
    """The first part of its module's name."""
    return module_of(thing).split(".", 1)[0]


def path_of_module(name: str) -> str | None:
    """The source file of a module, found without running it (only packages that it is in are imported)."""
    if name in sys.modules:
        return source_path(sys.modules[name])
    try:
        spec = importlib.util.find_spec(name)
    except (ImportError, AttributeError, ValueError):
        return None
    return spec.origin if spec and spec.has_location else None
