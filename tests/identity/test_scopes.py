"""Arguments and variables of a model are its own, whatever a script or notebook beside it calls by the same name."""

import ast
import importlib
import sys
import textwrap

import pytest

from flops_fit.identity.fingerprints import fingerprint_callable
from flops_fit.identity.scopes import outer_names

MODELS = """
import torch
from torch import nn

scale = 2.0

class Model(nn.Module):
    width = 4
    def __init__(self, width):
        super().__init__()
        self.layer = nn.Linear(4, width)
    def forward(self, x):
        out = [row * scale for row in x]
        for step in range(3):
            with torch.no_grad() as held:
                logits = self.layer(x)
        def inner(hidden):
            return hidden + logits
        return inner(x), (count := 3), lambda extra: extra

def loss(outputs, targets, /, *, weight=scale):
    return (outputs - targets).mean() * weight

def made(width):
    class Closed(nn.Module):
        def forward(self, x):
            return x * width
    return Closed

Closed = made(3)
"""
OWN = ["width", "x", "out", "row", "step", "held", "logits", "hidden", "count", "extra", "outputs", "weight", "self"]


@pytest.fixture
def models(tmp_path, monkeypatch):
    (tmp_path / "scoped_models.py").write_text(MODELS)
    monkeypatch.syspath_prepend(tmp_path)
    sys.modules.pop("scoped_models", None)
    yield importlib.import_module("scoped_models")
    sys.modules.pop("scoped_models", None)


@pytest.mark.parametrize("name", OWN)
@pytest.mark.parametrize("value", [7, lambda: 1, [1, 2]], ids=["number", "function", "list"])
def test_another_thing_of_the_name_changes_nothing(models, name, value):
    """As after `x, y = next(iter(loader))` in a notebook whose model has an argument `x`."""
    things = (models.Model, models.loss, models.Closed)
    before = [fingerprint_callable(thing) for thing in things]
    setattr(models, name, value)
    assert [fingerprint_callable(thing) for thing in things] == before


def test_what_is_read_of_the_module_still_counts(models):
    before = fingerprint_callable(models.Model), fingerprint_callable(models.loss)
    models.scale = 3.0
    after = fingerprint_callable(models.Model), fingerprint_callable(models.loss)
    assert before[0] != after[0]
    assert before[1] != after[1]  # a default is evaluated outside of the function


@pytest.mark.parametrize(
    ("source", "outer"),
    [
        ("def f(a, *b, c=d, **e):\n return a, b, c, e, g", "d g"),
        ("@dec\ndef f(dec):\n return dec", "dec"),
        ("def f():\n global a\n a = 1\n return a", "a"),
        ("def f():\n import a.b, c as d\n from e import g\n return a, d, g, c", "a c"),  # one module by one name
        ("def f():\n def g():\n  return a\n a = 1\n return g", ""),
        ("def f():\n def g():\n  global a\n  return a\n a = 1\n return g", "a"),
        ("def f():\n return [a for a in a], {b: c for b, c in d}, b", "a d b"),
        ("def f():\n return [[a for b in a] for a in c if a]", "c"),
        ("def f():\n return [(a := b) for b in c], a", "c"),
        ("def f(a):\n return lambda b, c=a: (a, b, c, d)", "d"),
        ("def f():\n try:\n  pass\n except a as b:\n  return b", "a"),
        ("def f(a):\n match a:\n  case [b, *c]:\n   return b, c, d", "d"),
        ("class A(b):\n c = d\n def f(self, e):\n  return c, e", "b c d"),
        ("def f(a):\n class A:\n  a = a\n  def g(self):\n   return a", "a"),  # the first, not the second
        ("class A:\n def f(self):\n  global a\n  a = 1\n b = a", "a"),
        ("def f():\n return [0 for a.b in c], [0 for d[e] in c], a, d, e", "a c d e"),
        ("def f():\n for a, (b, c) in d:\n  c += 1\n del b", "d"),
    ],
)
def test_names_are_resolved_as_python_does(source, outer):
    assert {name.id for name in outer_names(ast.parse(source))} - {"f", "A"} == set(outer.split())


def test_a_decorated_or_nested_definition_is_the_tree_that_is_asked_about():
    tree = ast.parse(
        textwrap.dedent("""
        class Outer:
            def forward(self, x):
                return helper(x)
    """)
    ).body[0]
    assert {name.id for name in outer_names(tree)} == {"helper"}


ELSEWHERE = """
import held_module, held_package

scale = 2

def made(scale):
    import held_module
    class Closed:
        def own(self):
            return scale
        def forward(self, x):
            return held_module.act(x)
    return Closed

def also_made(scale):
    import held_module
    class Closed:
        def own(self):
            return scale
        def forward(self, x):
            global scale
            return x * scale
    def loss(outputs, targets):
        return held_module.act(outputs)
    return Closed, loss

def loss(outputs, targets):
    import held_package.inner
    return held_package.act(outputs)

def made_of_parts():
    import held_package.inner
    def loss(outputs, targets):
        return held_package.inner.act(outputs)
    return loss

def inner_loss(outputs, targets):
    import held_package
    return held_package.inner.act(outputs)

Closed = made(3)
WithGlobal, ClosedLoss = also_made(3)
OfParts = made_of_parts()
"""
ACT = "def act(x):\n    return x\n"


@pytest.mark.parametrize(
    ("file", "names"),
    [
        ("held_module.py", {"Closed", "ClosedLoss"}),
        ("held_package/__init__.py", {"loss", "OfParts", "inner_loss"}),
        ("held_package/inner.py", {"loss", "OfParts", "inner_loss"}),
        ("elsewhere.py", {"WithGlobal"}),
    ],
)
def test_what_a_function_around_or_within_imports_or_says_is_global_counts(tmp_path, monkeypatch, file, names):
    """Names that are closed over, or bound by an import, hide the module's: what they stand for has to count."""
    files = {
        "held_module.py": ACT,
        "held_package/__init__.py": ACT,
        "held_package/inner.py": ACT,
        "elsewhere.py": ELSEWHERE,
    }
    monkeypatch.syspath_prepend(tmp_path)

    def written(texts):
        for name, text in texts.items():
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).write_text(text)
        for name in [
            each for each in sys.modules if each.partition(".")[0] in ("held_module", "held_package", "elsewhere")
        ]:
            del sys.modules[name]
        importlib.invalidate_caches()
        module = importlib.import_module("elsewhere")
        found = ("Closed", "ClosedLoss", "WithGlobal", "loss", "OfParts", "inner_loss")
        return {name: fingerprint_callable(getattr(module, name)) for name in found}

    before = written(files)
    changed = files[file].replace("return x\n", "return x + 100\n").replace("scale = 2\n", "scale = 2000\n")
    after = written({file: changed})
    assert {name for name in before if before[name] != after[name]} == names
