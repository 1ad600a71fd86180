"""Who imports whom: every import statement counts, also those in functions and for the type checker alone.

`python tests/helpers/import_graph.py` prints lines of code, rooms (folders, and files at the top), levels and arrows.
"""

import ast
import functools
from collections.abc import Iterable, Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("flops_fit", "flops_fit_assets")


def modules():
    """Dotted name → path of every module, `examples` (the user's side) left out."""
    paths = [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]
    named = {".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path for path in paths}
    return {name: path for name, path in named.items() if ".examples" not in name}


@functools.cache
def imported_names(path: Path, *, for_types: bool = True) -> frozenset[str]:
    """Every dotted name in the import statements of a file; without `for_types` those that run alone."""
    names, tree = set(), ast.parse(path.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and getattr(node.test, "id", "") == "TYPE_CHECKING" and not for_types:
            node.body = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return frozenset(names)


def graph() -> dict[str, set[str]]:
    """Module → modules of ours that it imports.

    The `__init__` of a package hands names on lazily, from a table of strings, and is not counted itself.
    """
    known = modules()
    packages = {name for name, path in known.items() if path.name == "__init__.py"}
    edges = {}
    for name, path in known.items():
        if name in packages:
            continue
        found = {_module_of(target, known) for target in imported_names(path)}
        edges[name] = {target for target in found if target and target != name}
    return edges


def _module_of(name: str, known: Mapping[str, Path]) -> str:
    """`package.module.attribute` → `package.module`; "" for what is not ours."""
    while name and name not in known:
        name = name.rpartition(".")[0]
    return name


def room_of(module: str) -> str:
    """The folder, or the file at the top, that a module belongs to: `flops_fit.sizes`, `flops_fit.loss`."""
    return ".".join(module.split(".")[:2])


def rooms(edges: Mapping[str, Iterable[str]]) -> dict[str, set[str]]:
    """The graph of the rooms."""
    found: dict[str, set[str]] = {}
    for module, targets in edges.items():
        here = found.setdefault(room_of(module), set())
        here |= {room_of(target) for target in targets} - {room_of(module)}
    return found


def circles(edges: Mapping[str, Iterable[str]]) -> list[list[str]]:
    """Groups of more than one node that can reach each other (Tarjan's strongly connected components)."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []

    def visit(node: str) -> None:
        index[node] = low[node] = len(index)
        stack.append(node)
        for target in edges.get(node, ()):
            if target not in index:
                visit(target)
                low[node] = min(low[node], low[target])
            elif target in stack:
                low[node] = min(low[node], index[target])
        if low[node] == index[node]:
            group = stack[stack.index(node) :]
            del stack[stack.index(node) :]
            if len(group) > 1:
                found.append(sorted(group))

    for node in edges:
        if node not in index:
            visit(node)
    return found


def levels(edges: Mapping[str, Iterable[str]]) -> dict[str, int]:
    """Node → its level: 1 imports nothing, any other is one above the highest that it imports. Needs no circles."""
    found: dict[str, int] = {}

    def level(node: str) -> int:
        if node not in found:
            found[node] = 1 + max((level(target) for target in edges.get(node, ())), default=0)
        return found[node]

    for node in edges:
        level(node)
    return found


def code_lines(path: Path) -> int:
    """Lines of a file that hold code: no blanks, no comments, no docstrings."""
    text = path.read_text()
    prose = {
        line
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
        for line in range(node.lineno, (node.end_lineno or node.lineno) + 1)
    }
    numbered = enumerate(text.splitlines(), 1)
    return sum(bool(line.strip()) and not line.strip().startswith("#") and at not in prose for at, line in numbered)


def main() -> None:
    """Print the house."""
    edges = graph()
    at_the_top = rooms(edges)
    for group in [*circles(edges), *circles(at_the_top)]:
        print("circle:", " <-> ".join(group))
    arrows = sum(len(targets) for targets in at_the_top.values())
    between = sum(room_of(target) != room_of(name) for name, targets in edges.items() for target in targets)
    print(f"{sum(map(code_lines, modules().values()))} lines of code, without blanks, comments and docstrings")
    print(f"{len(at_the_top)} rooms, {arrows} arrows between rooms, {between} imports between files of two rooms")
    if not circles(at_the_top):
        standing = levels(at_the_top)
        for height in range(1, max(standing.values()) + 1):
            print(f"level {height}:", ", ".join(sorted(room for room, at in standing.items() if at == height)))
    if not circles(edges):
        print(f"{len(edges)} modules on {max(levels(edges).values())} levels")


if __name__ == "__main__":
    main()
