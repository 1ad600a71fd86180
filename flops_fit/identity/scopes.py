"""Which names in a piece of source stand for what is outside of it, and not for its own arguments and variables."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence

_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
_COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)


def outer_names(tree: ast.AST) -> set[ast.Name]:
    """The name nodes in `tree` that no function or comprehension around them, within `tree`, has as its own.

    As Python resolves them: arguments and whatever is assigned in a function are its own, unless it says `global`, but
    not the name of a module that it imports, which stands for the same module where others know it by that name;
    decorators, defaults and annotations belong to what is around it; names of a class body are not those of its
    methods, and where they are read within that body count as outer ones, which they may be.
    """
    return set(_outer(tree, frozenset()))


def _outer(node: ast.AST, own: frozenset[str], attributes: frozenset[str] = frozenset()) -> Iterator[ast.Name]:
    """`attributes` are the names bound in the class body that `node` stands in: read there before they are bound, they
    are the module's, never those of a function around the class."""
    if isinstance(node, ast.Name):
        is_bound = node.id in attributes and isinstance(node.ctx, ast.Store)
        if not is_bound and (node.id not in own or node.id in attributes):
            yield node
        return
    if isinstance(node, _FUNCTIONS):
        around, inside = _parts(node)
        mine, declared = _bound_in(inside, node.args)
        for each in around:
            yield from _outer(each, own, attributes)
        for each in inside:
            yield from _outer(each, (own | mine) - declared)
        return
    if isinstance(node, _COMPREHENSIONS):
        first, *_ = node.generators
        yield from _outer(first.iter, own, attributes)
        mine = own | {name.id for generator in node.generators for name in ast.walk(generator.target)
                      if isinstance(name, ast.Name) and isinstance(name.ctx, ast.Store)}  # fmt: skip
        for each in ast.iter_child_nodes(node):
            for part in ast.iter_child_nodes(each) if each is first else (each,):
                if part is not first.iter:
                    yield from _outer(part, mine)
        return
    if isinstance(node, ast.ClassDef):
        attributes, _ = _bound_in(node.body)
    for each in ast.iter_child_nodes(node):
        yield from _outer(each, own, attributes)


def _parts(function: ast.AST) -> tuple[list[ast.AST], list[ast.AST]]:
    """What of a function is evaluated around it, and its body."""
    body = function.body if isinstance(function.body, list) else [function.body]  # type: ignore[attr-defined]
    return [each for each in ast.iter_child_nodes(function) if each not in body], body


def _bound_in(body: Sequence[ast.AST], arguments: ast.arguments | None = None) -> tuple[frozenset[str], frozenset[str]]:
    """Names that a function with such `arguments`, or a class, has as its own, and those it declares to be others'."""
    own = arguments or ast.arguments([], [], None, [], [], None, [])
    every = (*own.posonlyargs, *own.args, *own.kwonlyargs, own.vararg, own.kwarg)
    bound = {argument.arg for argument in every if argument is not None}
    declared: set[str] = set()
    todo = [*body]
    while todo:
        node = todo.pop()
        if isinstance(node, ast.Global):
            declared |= set(node.names)
        elif isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
            bound.add(node.id)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            bound.add(node.name)
        elif isinstance(node, ast.Import):  # without a name of its own it is the module that others call so too
            bound |= {alias.asname for alias in node.names if alias.asname}
        elif isinstance(node, ast.ImportFrom):
            bound |= {alias.asname or alias.name for alias in node.names}
        elif isinstance(node, ast.ExceptHandler | ast.MatchAs | ast.MatchStar) and node.name:
            bound.add(node.name)
        if isinstance(node, _COMPREHENSIONS):  # their own variables are not the function's, but `:=` in them is
            todo += [each for each in ast.walk(node) if isinstance(each, ast.NamedExpr)]
        elif not isinstance(node, (*_FUNCTIONS, ast.ClassDef)):
            todo += ast.iter_child_nodes(node)
    return frozenset(bound - declared), frozenset(declared)
