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
        ("def f():\n import a.b, c as d\n from e import g\n return a, d, g, c", "c"),
        ("def f():\n def g():\n  return a\n a = 1\n return g", ""),
        ("def f():\n def g():\n  global a\n  return a\n a = 1\n return g", "a"),
        ("def f():\n return [a for a in a], {b: c for b, c in d}, b", "a d b"),
        ("def f():\n return [[a for b in a] for a in c if a]", "c"),
        ("def f():\n return [(a := b) for b in c], a", "c"),
        ("def f(a):\n return lambda b, c=a: (a, b, c, d)", "d"),
        ("def f():\n try:\n  pass\n except a as b:\n  return b", "a"),
        ("def f(a):\n match a:\n  case [b, *c]:\n   return b, c, d", "d"),
        ("class A(b):\n c = d\n def f(self, e):\n  return c, e", "b c d"),
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
