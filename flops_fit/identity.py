"""Identity is content: hashes of data and fingerprints of code that ignore comments and formatting."""

from __future__ import annotations

import ast
import functools
import hashlib
import inspect
import json
import textwrap
from collections.abc import Mapping
from typing import Any


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
    """What a class, function or partial *is*: its qualified name and the syntax tree of its source.

    Comments, formatting, docstrings and annotations do not count. Of a class, the base classes defined outside
    installed packages count too. Where no source can be had (built-ins, C extensions), the name alone counts.
    """
    if isinstance(function, functools.partial):
        arguments = canonical([list(function.args), dict(function.keywords)])
        return content_hash([fingerprint_callable(function.func), arguments])[:16]
    if inspect.ismethod(function):
        owner = function.__self__ if inspect.isclass(function.__self__) else type(function.__self__)
        return content_hash([fingerprint_callable(owner), function.__name__])[:16]
    if not (inspect.isclass(function) or inspect.isfunction(function) or inspect.isbuiltin(function)):
        return _describe(function)
    sources = [_source_tree(part) for part in _own_classes(function)]
    return content_hash([_name(function), sources])[:16]


def _own_classes(function: Any) -> list[Any]:
    if not inspect.isclass(function):
        return [function]
    return [base for base in function.__mro__ if not _is_installed(base) or base is function]


def _is_installed(base: type) -> bool:
    try:
        path = inspect.getsourcefile(base) or ""
    except TypeError:
        return True
    return "site-packages" in path or "dist-packages" in path or path == inspect.getsourcefile(ast)


def _source_tree(function: Any) -> str:
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    except (OSError, TypeError, SyntaxError):  # no source: built in, defined by exec, or a lambda inside an expression
        code = getattr(function, "__code__", None)
        return _name(function) if code is None else _bytecode(code)
    return ast.dump(_StripProse().visit(tree))


def _bytecode(code: Any) -> str:
    """Instructions and constants of a function without source; nested functions by their own code."""
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
    return (
        isinstance(statement, ast.Expr)
        and isinstance(statement.value, ast.Constant)
        and isinstance(statement.value.value, str)
    )


def _name(function: Any) -> str:
    return f"{getattr(function, '__module__', '')}:{getattr(function, '__qualname__', repr(type(function)))}"


def _describe(instance: Any) -> str:
    """An object by its class and its `repr`, unless that repr is a memory address."""
    kind = type(instance)
    text = repr(instance)
    state = "" if " at 0x" in text else text
    return content_hash([fingerprint_callable(kind), state])[:16]
