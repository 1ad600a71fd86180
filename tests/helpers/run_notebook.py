"""`python run_notebook.py NOTEBOOK`: its code cells, one after the other, as a notebook would run them.

Prints a JSON line for each: what it printed, and what its last expression shows itself as. No kernel, no page: cells
are compiled under names of their own, of which their source can be found, as IPython does.
"""

import ast
import contextlib
import io
import json
import linecache
import sys
from pathlib import Path

import matplotlib

matplotlib.use("Agg")


def cells(path):
    """The source of each code cell."""
    content = json.loads(Path(path).read_text(encoding="utf-8"))
    return ["".join(cell["source"]) for cell in content["cells"] if cell["cell_type"] == "code"]


def shown(value):
    """What a page would show of a value: HTML, a PNG's size, or text."""
    if value is None:
        return None
    html = value._repr_html_() if hasattr(value, "_repr_html_") else None
    if html is not None:
        return {"html": html}
    if hasattr(value, "savefig"):
        picture = io.BytesIO()
        value.savefig(picture, format="png")
        return {"png": len(picture.getvalue())}
    return {"text": repr(value)}


def run(source, number, names):
    """Run a cell; what its last line is worth, where that is an expression."""
    name = f"<cell {number}>"
    linecache.cache[name] = (len(source), None, source.splitlines(keepends=True), name)
    tree = ast.parse(source, name)
    last = ast.Expression(tree.body.pop().value) if isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, name, "exec"), names)
    return eval(compile(last, name, "eval"), names) if last else None


def main(path):
    """Run all."""
    for number, source in enumerate(cells(path), start=1):
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            value = shown(run(source, number, vars(sys.modules["__main__"])))
        print(json.dumps({"printed": printed.getvalue(), "shown": value}), flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
