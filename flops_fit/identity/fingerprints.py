"""Identity is content: hashes of data, and fingerprints of code that ignore comments and formatting."""

from __future__ import annotations

import functools
import hashlib
import importlib
import importlib.metadata
import inspect
import json
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from flops_fit.identity import bytecode, source_code
from flops_fit.identity.bytecode import closed_over_by, methods_of
from flops_fit.identity.objects import (
    array_content,
    described,
    is_array,
    is_code,
    is_plain,
    is_telling,
    is_torch_module,
    name_of,
    public_name_of,
    state_of,
)
from flops_fit.identity.origin import (
    COMMON,
    INSTALLED,
    LOCAL,
    OWN,
    origin,
    origin_of_module,
    package_of,
    path_of_module,
    source_path,
)


def content_hash(content: Any) -> str:
    """SHA-256 (64 hex digits) of `content` as canonical JSON; callables and other objects by their fingerprint."""
    return _hash(canonical(content))


def canonical(content: Any, pieces: Pieces | None = None) -> Any:
    """`content` as plain JSON values, equal for equal content whatever the container types."""
    return _Walk(pieces).value(content)


def fingerprint_callable(function: Any, pieces: Pieces | None = None) -> str:
    """What a class, function, partial or callable object *is*: 16 hex digits of its name and its syntax trees.

    Counted are its own source and that of all local code it refers to (by name, as an attribute of a module, as a base
    class, decorator or object, by an import in its body), the constants and what the objects hold that it refers to,
    what it closes over, and what a partial or a callable object holds. Local is what is in no installed package. Of an
    installed package, source and version count; of Python and torch, the name; this library's own functions count as if
    they were the user's, so that an upgrade that leaves them alone trains nothing again. Comments, formatting,
    docstrings and annotations do not count. Of a lambda, and of anything without source, the bytecode counts, which is
    another for another Python. `pieces` is filled with what was met.

    Raises `SourceChanged` where a file holds other code than was imported from it.
    """
    return _hash(_Walk(pieces).parts(function))[:16]


@dataclass(frozen=True, kw_only=True)
class Piece:
    """What a fingerprint covers under one name: of which kind it is, its digest, and its file where it has one."""

    kind: str  # "definition", "constant", "module" (covered whole) or "package" (installed, by its version)
    digest: str
    path: str | None = None


Pieces = dict[str, Piece]


def changed_pieces(pieces: Mapping[str, Piece]) -> list[str]:
    """Which of `pieces` are another thing here: in the files as they are now, and in the modules of this process.

    What was defined in a script, notebook or console travels with whoever uses it, so it is not looked for.
    """
    return [name for name, piece in pieces.items() if not name.startswith("__main__") and _differs(name, piece)]


def _differs(name: str, piece: Piece) -> bool:
    module, _, inner = name.split("#")[0].partition(":")
    if piece.kind == "package":
        return piece.digest != package_version(name)
    if piece.kind == "constant":
        try:
            value = getattr(importlib.import_module(module), inner)
        except Exception:  # whatever the user's module raises: it did not when this piece was met
            return True
        return piece.digest != _constant_digest(value)
    path = path_of_module(module)
    return piece.digest not in [_digest(source_code.dump(node)) for node in source_code.definitions_in(path, inner)]


@functools.cache
def package_version(package: str) -> str:
    """The version of an installed package, by what was installed; "" where nothing says."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        names = importlib.metadata.packages_distributions().get(package, [])
        return ", ".join(importlib.metadata.version(name) for name in sorted(set(names)))


_NOTHING = object()


class _Walk:
    """One fingerprint under way: what it has met, so that nothing is written out twice and circles end."""

    def __init__(self, pieces: Pieces | None = None) -> None:
        self._seen: dict[int | str, Any] = {}  # objects are kept: the id of one that is gone may be given to another
        self._pieces = pieces

    def value(self, content: Any) -> Any:
        """`content` as plain JSON values."""
        if content is None or isinstance(content, bool | int | str):
            return content
        if isinstance(content, float):
            return int(content) if content.is_integer() else content if abs(content) < float("inf") else repr(content)
        if isinstance(content, Mapping | list | tuple | set | frozenset):
            return self._container(content)
        if getattr(content, "ndim", None) == 0 and hasattr(content, "item") and not getattr(content, "is_meta", False):
            return self.value(content.item())  # numpy and torch scalars
        if is_array(content):
            return array_content(content)
        if is_code(content):
            return f"seen {name_of(content)}" if id(content) in self._seen else _digest(self.parts(content))
        return self._instance(content)

    def held(self, value: Any) -> Any:
        """What a global object holds; `_NOTHING` for one that decides nothing, such as a logger, a lock or a device."""
        if is_code(value):
            return self.parts(value)
        if inspect.ismodule(value):
            return self._module(value.__name__)
        return self.value(value) if is_plain(value) or is_telling(value) or _is_local(value) else _NOTHING

    def parts(self, function: Any) -> list[Any]:
        """The fingerprint before hashing: names and syntax trees of `function` and all it refers to."""
        if not is_code(function):
            return [self._instance(function) if _is_local(function) else _description(function)]
        if id(function) in self._seen:
            return []
        self._seen[id(function)] = function
        if isinstance(function, functools.partial):
            return [self.parts(function.func), self.value([list(function.args), dict(function.keywords)])]
        if inspect.ismethod(function):
            bound = function.__self__
            held = [self._instance(bound)] if _is_local(bound) and not inspect.isclass(bound) else []
            return [self.parts(bound if inspect.isclass(bound) else type(bound)), function.__name__, *held]
        place = origin(function)
        if place == COMMON:
            return [public_name_of(function), *self._wrapped(function)]
        return self._definition(function, place)

    def _definition(self, function: Any, place: str) -> list[Any]:
        closed_over = [self._referred(value) for value in closed_over_by(function)]
        tree = source_code.syntax_tree(function)
        if place == INSTALLED:
            self._package(package_of(function))
        if tree is None:
            made = [name_of(function), bytecode.behaviour(function), closed_over]
        elif place == INSTALLED:
            version = str(getattr(sys.modules.get(package_of(function)), "__version__", ""))
            return [name_of(function), source_code.dump(tree), version]
        else:
            referred = [[name, self._referred(value)] for name, value in _globals_used(function, tree)]
            made = [name_of(function), source_code.dump(tree), referred, closed_over]
        self._add_definition(function, made[1] if tree is not None else None)
        more = [[where, found] for where, found in self._more(function, tree) if found not in ([], _NOTHING)]
        return [*made, more] if more else made

    def _more(self, function: Any, tree: Any) -> Iterator[tuple[str, Any]]:
        """What else it is made of, by where it was met; what was met before is empty."""
        scope, closed_over = _scope(function), _closed_over_names(function, tree)
        for chain in source_code.chains_in(tree) if tree is not None else bytecode.chains_of(function):
            if chain[0] in scope and chain[0] not in closed_over:
                yield ".".join(chain), self._chain(scope, chain, has_source=tree is not None)
        for name in _imports(tree, str(scope.get("__package__") or "")) if tree is not None else ():
            yield f"import {name}", self._module(name)
        if inspect.isclass(function):
            for base in (*function.__bases__, type(function)):
                yield "base", [] if origin(base) == COMMON else self.parts(base)
            for name, method in methods_of(function):
                is_foreign = not method.__qualname__.startswith(f"{function.__qualname__}.")
                yield name, self.parts(method) if is_foreign or hasattr(method, "__wrapped__") else []
                yield name, [found for cell in closed_over_by(method) if (found := self._referred(cell)) != []]
        elif "<locals>" in function.__qualname__ or function.__name__ == "<lambda>":
            given = [getattr(function, "__defaults__", None), getattr(function, "__kwdefaults__", None)]
            yield "defaults", self.value(given) if any(given) else []
        yield "wrapped", self._wrapped(function)

    def _chain(self, scope: Mapping[str, Any], chain: tuple[str, ...], *, has_source: bool) -> Any:
        """What a name with the attributes asked of it stands for, unless it was counted by its name alone."""
        target, owner, name = scope[chain[0]], str(scope.get("__name__", "")), chain[0]
        through_module = inspect.ismodule(target)
        if through_module:  # another may be imported by the same name
            self._add_constant(f"{owner}:{name}", target)
        for attribute in chain[1:]:
            if not inspect.ismodule(target) or origin(target) != LOCAL:
                break
            owner, name, target = target.__name__, attribute, getattr(target, attribute, _NOTHING)
        if not inspect.ismodule(target) and name_of(target) != f"{owner}:{name}":
            self._add_constant(f"{owner}:{name}", target)
        by_name = not through_module and (is_plain(target) or _is_referred(target))
        return [] if by_name and has_source else self.held(target)

    def _referred(self, value: Any) -> Any:
        if inspect.ismodule(value) and origin(value) == LOCAL:  # imported in a function around the one that uses it
            found = self._module(value.__name__)
            return [] if found is _NOTHING else found
        return self.parts(value) if _is_referred(value) else self.value(value)

    def _wrapped(self, function: Any) -> list[Any]:
        inner = None if inspect.isclass(function) else getattr(function, "__wrapped__", None)
        return [] if inner is None or (is_code(inner) and origin(inner) == COMMON) else self.parts(inner)

    def _module(self, name: str) -> Any:
        """A module used as a whole, or imported within a function: its source, and the local ones it imports."""
        place = origin_of_module(name)
        if place == INSTALLED:
            return [name.split(".", 1)[0], self._package(name.split(".", 1)[0])]
        path = path_of_module(name) if place == LOCAL and name not in self._seen else None
        nodes = source_code.definitions_in(path, "")
        self._seen[name] = name
        if not nodes:
            return _NOTHING
        self._add(name, Piece(kind="module", digest=_digest(source_code.dump(nodes[0])), path=path))
        package = name if str(path).endswith("__init__.py") else name.rpartition(".")[0]
        inner = [self._module(found) for found in _imports(nodes[0], package)]
        return [name, source_code.dump(nodes[0]), [found for found in inner if found is not _NOTHING]]

    def _container(self, content: Any) -> Any:
        if id(content) in self._seen:  # it holds itself
            return f"seen {name_of(type(content))}"
        self._seen[id(content)] = content
        try:
            if isinstance(content, Mapping):
                return {str(key): self.value(value) for key, value in content.items()}
            if isinstance(content, list | tuple):
                return [self.value(value) for value in content]
            return sorted((self.value(value) for value in content), key=repr)
        finally:
            del self._seen[id(content)]

    def _instance(self, content: Any) -> Any:
        if not _is_local(content):
            text = _description(content)
            return _digest([text]) if callable(content) else text
        if id(content) in self._seen:
            return f"seen {name_of(type(content))}"
        self._seen[id(content)] = content
        state = {name: self.held(value) for name, value in state_of(content).items()}
        return [self.parts(type(content)), {name: value for name, value in state.items() if value is not _NOTHING}]

    def _add(self, name: str, piece: Piece) -> None:
        if self._pieces is None:
            return
        while name in self._pieces and self._pieces[name].digest != piece.digest:
            name += "#"  # another definition by the same name, such as a decorated one
        self._pieces[name] = piece

    def _add_definition(self, function: Any, text: str | None) -> None:
        """Note a definition; one without source by the module that it is in."""
        path, code = source_path(function) or None, getattr(function, "__code__", None)
        module, name = function.__module__, function.__qualname__
        if code:  # `functools.wraps` gives a function the module and name of another
            module, name = str(function.__globals__.get("__name__", module)), code.co_qualname
        if text is not None:
            self._add(f"{module}:{name}", Piece(kind="definition", digest=_digest(text), path=path))
        elif path and (nodes := source_code.definitions_in(path, "")):
            self._add(module, Piece(kind="module", digest=_digest(source_code.dump(nodes[0])), path=path))

    def _add_constant(self, name: str, value: Any) -> None:
        if self._pieces is not None and (digest := _constant_digest(value)):
            self._add(name, Piece(kind="constant", digest=digest))

    def _package(self, name: str) -> str:
        version = package_version(name)
        self._add(name, Piece(kind="package", digest=version))
        return version


def _constant_digest(value: Any) -> str:
    """Of what a module's name stands for; "" where that decides nothing."""
    found = value.__name__ if inspect.ismodule(value) else _Walk().held(value)
    return "" if found is _NOTHING else _digest(found)


def _is_local(value: Any) -> bool:
    """Whether what an object holds counts with its class: objects of the user's own classes, and modules of torch."""
    return is_torch_module(value) or origin(type(value)) == LOCAL


def _is_referred(value: Any) -> bool:
    return inspect.isclass(value) or inspect.isfunction(value) or isinstance(value, functools.partial)


def _scope(function: Any) -> Mapping[str, Any]:
    module = vars(sys.modules[function.__module__]) if function.__module__ in sys.modules else {}
    return getattr(function, "__globals__", None) or module


def _imports(tree: Any, package: str) -> Iterator[str]:
    """Modules that `tree` imports, and the user's packages that they are in where it binds those."""
    yield from source_code.imports_in(tree, package)
    yield from (name for name in source_code.packages_in(tree) if name not in OWN and origin_of_module(name) == LOCAL)


def _closed_over_names(function: Any, tree: Any) -> set[str]:
    """Names that stand for variables of the functions around a class or function, whatever its module calls so, unless
    somewhere in its `tree` they are said to be the module's. Not those of modules: by one name it is most often one
    module, of which what is asked counts.
    """
    functions = [function]
    if inspect.isclass(function):
        inside = f"{function.__qualname__}."
        functions = [each for _, each in bytecode.methods_of(function) if each.__code__.co_qualname.startswith(inside)]
    found = {
        name for each in functions for name, value in bytecode.variables_around(each) if not inspect.ismodule(value)
    }
    return found - source_code.declared_global(tree) if tree is not None else found


def _globals_used(function: Any, tree: Any) -> Iterator[tuple[str, Any]]:
    """Global names in `tree` that stand for classes, functions or plain constants."""
    scope = _scope(function)
    for name in sorted((source_code.names_in(tree) & scope.keys()) - _closed_over_names(function, tree)):
        if is_plain(scope[name]) or _is_referred(scope[name]):
            yield name, scope[name]


def _description(instance: Any) -> str:
    """Any other object, by its class and what it shows of itself."""
    return _digest([name_of(type(instance)), described(instance)])


def _digest(parts: Any) -> str:
    return _hash(parts)[:16]


def _hash(parts: Any) -> str:
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()
