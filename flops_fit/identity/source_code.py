"""The source of classes and functions as syntax trees without prose, and what these refer to.

Syntax trees are written out here in one form for every version of Python, so that what is hashed is the same in all.
"""

from __future__ import annotations

import ast
import functools
import importlib.machinery
import importlib.util
import linecache
import sys
import tokenize
import types
from collections.abc import Iterator
from typing import Any

from flops_fit.errors import SourceChanged
from flops_fit.identity.bytecode import codes_of
from flops_fit.identity.origin import module_of, source_path
from flops_fit.identity.scopes import outer_names


def syntax_tree(thing: Any) -> ast.AST | None:
    """The definition of a class or function in its file; None where there is none (a lambda, a console, `exec`).

    Raises `SourceChanged` where the file holds another definition than the one that was imported.
    """
    if getattr(thing, "__name__", "") == "<lambda>":  # many may stand in one line
        return None
    path, code = source_path(thing), getattr(thing, "__code__", None)
    text = _text(path) if path else None
    if not path or text is None:
        return None
    codes = [code] if code else [each for each in codes_of(thing) if each.co_filename == path]
    lines = [each.co_firstlineno for each in codes]
    if _is_imported_as_written(thing):
        lines = [_line_in_file(each, text, path) for each in codes]
    found = definitions_in(path, code.co_qualname if code else getattr(thing, "__qualname__", ""))
    if code:
        return next((node for node in found if _first_line(node) == lines[0]), None)
    around = [node for node in found if any(_first_line(node) <= line <= (node.end_lineno or 0) for line in lines)]
    return next(iter(around or found), None)


def definitions_in(path: str | None, name: str) -> list[Any]:
    """Every definition of the qualified `name` in a file; of "" the whole module; none where it cannot be read."""
    text = _text(path) if path else None
    if text is None:
        return []
    return [_parsed(text)] if not name else [node for found, node in _definitions(text) if found == name]


def names_in(tree: ast.AST) -> set[str]:
    """Every name that is read or written and may stand for something outside of `tree`."""
    return {node.id for node in outer_names(tree)}


def chains_in(tree: ast.AST) -> list[tuple[str, ...]]:
    """Those names with the attributes asked of them, `("helpers", "layers", "Block")`, each as long as it is."""
    found: dict[tuple[str, ...], None] = {}
    outer = outer_names(tree)
    todo = [tree]
    while todo:
        node, attributes = todo.pop(), list[str]()
        while isinstance(node, ast.Attribute):
            attributes.append(node.attr)
            node = node.value
        if isinstance(node, ast.Name) and node in outer:
            found[(node.id, *reversed(attributes))] = None
        todo += reversed([*ast.iter_child_nodes(node)])
    return [*found]


def imports_in(tree: ast.AST, package: str) -> Iterator[str]:
    """Names of modules that import statements in `tree` load, those of `from a import b` as `a` and `a.b`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            try:
                base = importlib.util.resolve_name("." * node.level + (node.module or ""), package)
            except ImportError:
                continue
            yield base
            yield from (f"{base}.{alias.name}" for alias in node.names)


def packages_in(tree: ast.AST) -> list[str]:
    """What `import a.b` in `tree` binds, `a`, whose attributes may be the package's own and not those of `a.b`."""
    names = [alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names
             if "." in alias.name and not alias.asname]  # fmt: skip
    return [*dict.fromkeys(name.partition(".")[0] for name in names)]


def declared_global(tree: ast.AST) -> set[str]:
    """Names that a function in `tree` says are the module's."""
    return {name for node in ast.walk(tree) if isinstance(node, ast.Global) for name in node.names}


def dump(tree: ast.AST) -> str:
    """A definition as text, without comments, formatting, docstrings and annotations of arguments; equal in 3.11 on."""
    return _dumped(ast.Module(body=[tree], type_ignores=[]) if isinstance(tree, ast.stmt) else tree)


def _dumped(node: Any) -> str:
    if isinstance(node, list):
        return f"[{', '.join(map(_dumped, node))}]"
    if not isinstance(node, ast.AST):
        return repr(node)
    parts = []
    for name in node._fields:
        value = getattr(node, name, None)
        if isinstance(node, _SCOPES) and name == "body":
            value = [item for item in value or [] if not _is_string(item)] or [ast.Pass()]
        is_absent = value is None and not isinstance(node, ast.Constant | ast.MatchSingleton)
        if is_absent or (name, value) in (("kind", None), ("type_params", [])):
            continue
        if (name == "returns" and isinstance(node, _SCOPES)) or (name == "annotation" and isinstance(node, ast.arg)):
            continue
        parts.append(f"{name}={_dumped(value)}")
    return f"{type(node).__name__}({', '.join(parts)})"


_SCOPES = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Module)


def _is_string(statement: ast.stmt) -> bool:
    value = statement.value if isinstance(statement, ast.Expr) else None
    return isinstance(value, ast.Constant) and isinstance(value.value, str)


def _text(path: str) -> str | None:
    try:
        with tokenize.open(path) as file:
            return file.read()
    except (OSError, SyntaxError, UnicodeDecodeError):  # such as a cell of a notebook, which only linecache has
        return "".join(linecache.getlines(path)) or None


@functools.lru_cache(maxsize=256)
def _parsed(text: str) -> ast.Module:
    try:
        return ast.parse(text)
    except SyntaxError:  # edited since it was imported, and not yet done
        return ast.Module(body=[], type_ignores=[])


@functools.lru_cache(maxsize=256)
def _definitions(text: str) -> list[tuple[str, Any]]:
    """Qualified name and node of every class and function in a module."""

    def below(node: ast.AST, prefix: str) -> Iterator[tuple[str, Any]]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                yield prefix + child.name, child
                inner = "." if isinstance(child, ast.ClassDef) else ".<locals>."
                yield from below(child, prefix + child.name + inner)
            else:
                yield from below(child, prefix)

    return [*below(_parsed(text), "")]


def _first_line(node: Any) -> int:
    return min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])


def _is_imported_as_written(thing: Any) -> bool:
    """Whether Python itself compiled the module: other loaders (pytest's of tests, say) may have changed its code."""
    loader = getattr(sys.modules.get(module_of(thing)), "__loader__", None)
    return type(loader) is importlib.machinery.SourceFileLoader


def _line_in_file(code: types.CodeType, text: str, path: str) -> int:
    """The first line of the definition in a file that `code` was compiled from, which comments may have moved."""
    same = [line for line, found in _compiled(text, path).get(code.co_qualname, []) if found == _meaning(code)]
    if not same:
        raise SourceChanged(
            f"{code.co_qualname} in {path} is not what this process imported: the file was edited since; "
            "start the process (or the notebook's kernel) again"
        )
    return code.co_firstlineno if code.co_firstlineno in same else same[0]


@functools.lru_cache(maxsize=64)
def _compiled(text: str, path: str) -> dict[str, list[tuple[int, Any]]]:
    """Qualified name → line and meaning of every code object of a module."""
    found: dict[str, list[tuple[int, Any]]] = {}

    def collect(code: types.CodeType) -> None:
        for constant in code.co_consts:
            if isinstance(constant, types.CodeType):
                found.setdefault(constant.co_qualname, []).append((constant.co_firstlineno, _meaning(constant)))
                collect(constant)

    try:
        collect(compile(text, path, "exec", dont_inherit=True))
    except SyntaxError:
        return {}
    return found


def _meaning(code: types.CodeType) -> Any:
    """What a code object does, without where it stands."""
    constants = tuple(map(_constant, code.co_consts))
    return code.co_code, code.co_names, code.co_varnames, code.co_freevars, constants


def _constant(value: Any) -> Any:
    if isinstance(value, types.CodeType):
        return _meaning(value)
    if isinstance(value, tuple | frozenset):
        return type(value)(map(_constant, value))
    return type(value), repr(value)
