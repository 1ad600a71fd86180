"""Identity is content: hashes of data, and fingerprints of code that ignore comments and formatting."""

from __future__ import annotations

import ast
import functools
import hashlib
import inspect
import json
import sys
import sysconfig
import textwrap
import types
from collections.abc import Iterator, Mapping
from typing import Any

_OWN = ("flops_fit", "flops_fit_assets")  # the same source wherever and however it is installed


def content_hash(content: Any) -> str:
    """SHA-256 (64 hex digits) of `content` as canonical JSON; callables and other objects by their fingerprint."""
    text = json.dumps(canonical(content), sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def canonical(content: Any) -> Any:
    """`content` as plain JSON values, equal for equal content whatever the container types."""
    if content is None or isinstance(content, bool | int | str):
        return content
    if isinstance(content, float):
        return int(content) if content.is_integer() else content if abs(content) < float("inf") else repr(content)
    if isinstance(content, Mapping):
        return {str(key): canonical(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [canonical(value) for value in content]
    if isinstance(content, set | frozenset):
        return sorted((canonical(value) for value in content), key=repr)
    if hasattr(content, "item") and getattr(content, "ndim", None) == 0:  # numpy and torch scalars
        return canonical(content.item())
    if callable(content):
        return fingerprint_callable(content)
    return _describe(content)


def fingerprint_callable(function: Any) -> str:
    """What a class, function or partial *is*: 16 hex digits of its name and the syntax trees it is made of.

    Counted are its own source and that of every class and function it refers to by a global name, and the plain
    constants it refers to, and what it closes over. Of an installed package, its own source and the package's version
    count (this library's own functions count as if they were the user's, so that an upgrade that leaves them alone
    trains nothing again); of Python and torch, the name. Comments, formatting, docstrings and annotations do not. Of a
    lambda, and of anything without source, the bytecode counts.
    """
    return content_hash(_parts(function, set()))[:16]


def _parts(function: Any, seen: set[int]) -> list[Any]:
    """The fingerprint before hashing: names and syntax trees of `function` and all it refers to."""
    if id(function) in seen:
        return []
    seen.add(id(function))
    if isinstance(function, functools.partial):
        arguments = canonical([list(function.args), dict(function.keywords)])
        return [_parts(function.func, seen), arguments]
    if inspect.ismethod(function):
        owner = function.__self__ if inspect.isclass(function.__self__) else type(function.__self__)
        return [_parts(owner, seen), function.__name__]
    if not (inspect.isclass(function) or inspect.isroutine(function)):
        return [_describe(function)]
    if _is_common_ground(function):
        return [_name(function)]
    closed_over = [_referred(cell.cell_contents, seen) for cell in getattr(function, "__closure__", None) or ()]
    tree = _syntax_tree(function)
    if tree is None:
        return [_name(function), _compiled(function), closed_over]
    if _is_installed(function):
        return [_name(function), ast.dump(_StripProse().visit(tree)), _package_version(function)]
    referred = [[name, _referred(value, seen)] for name, value in _globals_used(function, tree)]
    return [_name(function), ast.dump(_StripProse().visit(tree)), referred, closed_over]


def _referred(value: Any, seen: set[int]) -> Any:
    if inspect.isclass(value) or inspect.isfunction(value) or isinstance(value, functools.partial):
        return _parts(value, seen)
    return canonical(value)


def _globals_used(function: Any, tree: ast.AST) -> Iterator[tuple[str, Any]]:
    """Global names in `tree` that stand for classes, functions or plain constants; modules are left out."""
    scope = getattr(function, "__globals__", None) or vars(sys.modules.get(function.__module__, types))
    names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    for name in sorted(names & scope.keys()):
        value = scope[name]
        plain = value is None or isinstance(value, bool | int | float | str | tuple | list | dict)
        if plain or inspect.isclass(value) or inspect.isfunction(value) or isinstance(value, functools.partial):
            yield name, value


def _is_common_ground(function: Any) -> bool:
    """Whether it belongs to Python or torch, where the name says what it is."""
    if _package(function) in _OWN:
        return False
    path = _source_path(function)
    in_library = path is not None and path.startswith(sysconfig.get_path("stdlib")) and not _is_installed(function)
    return path is None or in_library or _package(function) == "torch"


def _is_installed(function: Any) -> bool:
    if _package(function) in _OWN:
        return False
    path = _source_path(function)
    return path is not None and path.startswith((sysconfig.get_path("purelib"), sysconfig.get_path("platlib")))


def _source_path(function: Any) -> str | None:
    """The file it is defined in; "" where Python code has none (a console); None for what is built in."""
    try:
        return inspect.getsourcefile(function) or ""
    except OSError:  # defined in a console or with `python -c`
        return ""
    except TypeError:
        return "" if hasattr(function, "__code__") or getattr(function, "__module__", "") == "__main__" else None


def _package(function: Any) -> str:
    return str(getattr(function, "__module__", "")).split(".", 1)[0]


def _package_version(function: Any) -> str:
    return str(getattr(sys.modules.get(_package(function)), "__version__", ""))


def _syntax_tree(function: Any) -> ast.AST | None:
    if getattr(function, "__name__", "") == "<lambda>":  # its source would be the whole line it stands in
        return None
    try:
        return ast.parse(textwrap.dedent(inspect.getsource(function)))
    except (OSError, TypeError, SyntaxError):  # defined by exec, in a console, or in a file that is gone
        return None


def _compiled(function: Any) -> Any:
    """What a function or class without source does: bytecode, of a class that of its methods and what its bases are."""
    if not inspect.isclass(function):
        return _bytecode(getattr(function, "__code__", None))
    methods = {name: _bytecode(value.__code__) for name, value in vars(function).items() if inspect.isfunction(value)}
    bases = [_name(base) if _is_common_ground(base) else _compiled(base) for base in function.__bases__]
    return [methods, bases]


def _bytecode(code: Any) -> str:
    """Instructions and constants of a function without source; nested functions by their own code."""
    if code is None:
        return ""
    constants = [_bytecode(value) if hasattr(value, "co_code") else repr(value) for value in code.co_consts]
    return hashlib.sha256(repr((code.co_code, code.co_names, constants)).encode()).hexdigest()


class _StripProse(ast.NodeTransformer):
    """Removes docstrings and annotations, which change nothing that a training does."""

    def generic_visit(self, node: ast.AST) -> ast.AST:
        super().generic_visit(node)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Module):
            body = [statement for statement in node.body if not _is_string(statement)]
            node.body = body or [ast.Pass()]
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            node.returns = None
        if isinstance(node, ast.arg):
            node.annotation = None
        return node


def _is_string(statement: ast.stmt) -> bool:
    value = statement.value if isinstance(statement, ast.Expr) else None
    return isinstance(value, ast.Constant) and isinstance(value.value, str)


def _name(function: Any) -> str:
    return f"{getattr(function, '__module__', '')}:{getattr(function, '__qualname__', repr(type(function)))}"


def _describe(instance: Any) -> str:
    """An object by its class and its `repr`, unless that repr is a memory address."""
    text = repr(instance)
    return content_hash([_name(type(instance)), "" if " at 0x" in text else text])[:16]
