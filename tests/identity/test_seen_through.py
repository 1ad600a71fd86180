"""A fingerprint sees through modules: whatever local code a model is made of counts, wherever it stands."""

import functools
import importlib
import shutil
import sys
import textwrap
import threading

import pytest
import torch

from flops_fit.errors import SourceChanged
from flops_fit.identity import fingerprints, origin
from flops_fit.identity.fingerprints import canonical, changed_pieces, fingerprint_callable

MODEL = """
import contextlib, functools, json, logging, threading, torch
import numpy as np
import bases, helpers, lib.layers, lib.space.deep
from helpers import CONFIG, decorated, registry as kinds
from pathlib import Path

log, lock, device = logging.getLogger("x"), threading.Lock(), torch.device("cpu")
TABLE = json.loads((Path(__file__).parent / "table.json").read_text())
ARRAY = np.array(TABLE * 100)

class Plain(torch.nn.Module):
    def forward(self, x):
        log.info(lock), x.to(device)
        return helpers.scale(x)

class Submodule(torch.nn.Module):
    def forward(self, x):
        return lib.layers.Block(x), lib.space.deep.deepest(x)

class Derived(bases.Base):
    pass

class Decorated(torch.nn.Module):
    @decorated
    def forward(self, x):
        return x

@helpers.wrapping
def built(width):
    return helpers.scale(width)

class OfObject(torch.nn.Module):
    def forward(self, x):
        return CONFIG.scaled(x)

class OfPartial(torch.nn.Module):
    def forward(self, x):
        return helpers.twice(x)

class OfData(torch.nn.Module):
    def forward(self, x):
        return x + ARRAY

class OfImport(torch.nn.Module):
    def forward(self, x):
        from late import later
        return later(x)

class Aliased(torch.nn.Module):
    def forward(self, x):
        return helpers.act(x)

class OfMeta(metaclass=bases.Meta):
    pass

@functools.cache
def cached(width):
    return helpers.scale(width)

@contextlib.contextmanager
def managed(width):
    yield helpers.scale(width)

class OfRegistry(torch.nn.Module):
    def forward(self, x):
        return kinds.KINDS["a"](x)

anonymous = lambda width: helpers.scale(width)
builder = helpers.Builder(3)
method = helpers.Builder(3).build
"""
FILES = {
    "user_model.py": MODEL,
    "helpers.py": """
import functools
import registry
from torch.nn.functional import gelu as act

def scale(x):
    return 2 * x

def decorated(function):
    def inner(*args):
        return function(*args) + 1
    return inner

def wrapping(function):
    @functools.wraps(function)
    def inner(width):
        return function(width) - 4
    return inner

class Config:
    def __init__(self, factor):
        self.factor = factor
    def scaled(self, x):
        return x * self.factor

CONFIG = Config(5)

def times(factor, x):
    return factor * x * 6

twice = functools.partial(times, 2)

class Builder:
    def __init__(self, depth):
        self.depth = depth
    def __call__(self, width):
        return width + 7
    def build(self, width):
        return width + 8

def unrelated():
    return 9
""",
    "registry.py": """
class A:
    def other(self):
        return KINDS["b"], 10
class B:
    def other(self):
        return KINDS["a"]
KINDS = {"a": A, "b": B}
KINDS["itself"] = KINDS
""",
    "bases.py": """
import torch
class Base(torch.nn.Module):
    def forward(self, x):
        return x * 11
class Meta(type):
    def __call__(cls, *args):
        return 12
""",
    "lib/__init__.py": "",
    "lib/layers.py": "class Block:\n    size = 13\n",
    "lib/space/deep.py": "def deepest(x):\n    return 14\n",
    "late.py": "from later_still import constant\ndef later(x):\n    return constant + 15\n",
    "later_still.py": "constant = 16\n",
    "table.json": "[17, 18]",
}


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A function: name in `user_model` (and edits of files) → its fingerprint as a fresh process would take it."""
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    local = {name.split("/")[0].removesuffix(".py") for name in FILES}

    def forget():
        for name in [name for name in sys.modules if name.split(".")[0] in local]:
            del sys.modules[name]
        importlib.invalidate_caches()

    def take(name, *edits, pieces=None):
        for file, content in FILES.items():
            (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / file).write_text(textwrap.dedent(content))
        for file, old, new in edits:
            text = (tmp_path / file).read_text()
            assert old in text
            (tmp_path / file).write_text(text.replace(old, new))
        forget()
        return fingerprint_callable(getattr(importlib.import_module("user_model"), name), pieces)

    yield take
    forget()


@pytest.mark.parametrize(
    ("name", "file", "old", "new"),
    [
        ("Plain", "helpers.py", "2 * x", "0.0 * x"),
        ("Submodule", "lib/layers.py", "13", "113"),
        ("Submodule", "lib/space/deep.py", "14", "114"),  # in a package without __init__
        ("Derived", "bases.py", "x * 11", "x * 111"),
        ("Decorated", "helpers.py", "(*args) + 1", "(*args) + 11"),
        ("built", "helpers.py", "(width) - 4", "(width) - 44"),  # the decorator
        ("built", "helpers.py", "2 * x", "22 * x"),  # what the decorated function uses
        ("OfObject", "helpers.py", "x * self.factor", "x + self.factor"),
        ("OfObject", "helpers.py", "Config(5)", "Config(55)"),
        ("OfPartial", "helpers.py", "x * 6", "x * 66"),
        ("OfPartial", "helpers.py", "partial(times, 2)", "partial(times, 22)"),
        ("OfData", "table.json", "18", "118"),
        ("OfImport", "late.py", "15", "115"),
        ("OfImport", "later_still.py", "16", "116"),
        ("OfMeta", "bases.py", "12", "112"),
        ("cached", "helpers.py", "2 * x", "22 * x"),
        ("managed", "helpers.py", "2 * x", "22 * x"),
        ("OfRegistry", "registry.py", "10", "110"),
        ("anonymous", "helpers.py", "2 * x", "22 * x"),
        ("anonymous", "user_model.py", "lambda width: helpers.scale(width)", "lambda width: -helpers.scale(width)"),
        ("Aliased", "helpers.py", "gelu as act", "relu as act"),
        ("Submodule", "user_model.py", "lib.layers, lib.space.deep", "lib, lib.space.deep, bases as lib"),
        ("builder", "helpers.py", "width + 7", "width + 77"),
        ("builder", "user_model.py", "builder = helpers.Builder(3)", "builder = helpers.Builder(33)"),
        ("method", "helpers.py", "width + 8", "width + 88"),
        ("method", "user_model.py", "method = helpers.Builder(3)", "method = helpers.Builder(33)"),
    ],
)
def test_an_edit_of_what_it_is_made_of_counts(project, name, file, old, new):
    before = project(name)
    assert project(name) == before
    assert project(name, (file, old, new)) != before
    pieces = {}
    assert project(name, pieces=pieces) == before
    if not (name in ("builder", "method") and file == "user_model.py"):  # they are what they are where they are sent to
        project("Plain", (file, old, new))
        assert changed_pieces(pieces) != [], "a process that has the edited file says so"


NAMES = [
    "Plain",
    "Submodule",
    "Derived",
    "Decorated",
    "built",
    "OfObject",
    "OfPartial",
    "OfRegistry",
    "builder",
    "OfMeta",
]


@pytest.mark.parametrize("name", NAMES)
def test_comments_formatting_docstrings_and_what_is_not_used_do_not_count(project, name):
    pieces = {}
    before = project(name, pieces=pieces)
    prose = [
        ("helpers.py", "import functools\n", "# why\nimport functools\n\n\n"),
        ("helpers.py", "2 * x", "(2  *  x)  # doubled"),
        ("helpers.py", "def scaled(self, x):", 'def scaled(self, x: float) -> float:\n        "Prose."'),
        ("helpers.py", "return 9", "return 99"),
        ("bases.py", "class Base", "# of all\nclass Base"),
        ("registry.py", "class A:", 'class A:\n    "Prose."\n'),
        ("lib/layers.py", "size = 13", "size = (13)"),
    ]
    assert project(name, *prose) == before
    assert changed_pieces(pieces) == []


def test_what_is_covered_is_named_with_its_files(project, tmp_path):
    pieces = {}
    project("Plain", pieces=pieces)
    modules = {"user_model:torch", "user_model:helpers"}
    assert set(pieces) == {"user_model:Plain", "helpers:scale"} | modules, "and neither log, lock nor device"
    assert pieces["helpers:scale"].path == str(tmp_path / "helpers.py")


def test_code_that_was_edited_since_its_import_is_refused_and_comments_are_not(project, tmp_path):
    before = project("Plain")
    model = sys.modules["user_model"].Plain
    path = tmp_path / "helpers.py"
    path.write_text("# a comment\n\n" + path.read_text())
    assert fingerprint_callable(model) == before
    path.write_text(path.read_text().replace("2 * x", "0.0 * x"))
    with pytest.raises(SourceChanged, match=r"scale in .*helpers\.py is not what this process imported.*start the"):
        fingerprint_callable(model)


def test_an_installed_package_counts_by_its_version_however_it_is_reached(project, tmp_path, monkeypatch):
    folder = tmp_path / "site"
    monkeypatch.setattr(origin, "_site_folders", lambda: (f"{folder}/",))
    monkeypatch.syspath_prepend(str(folder))

    def of(version, body="return x"):
        shutil.rmtree(folder, ignore_errors=True)
        about = folder / f"vendored-{version}.dist-info" / "METADATA"
        about.parent.mkdir(parents=True)
        about.write_text(f"Metadata-Version: 2.1\nName: vendored\nVersion: {version}\n")
        (folder / "vendored.py").write_text(f"def layer(x):\n    {body}\n")
        sys.modules.pop("vendored", None)
        fingerprints.package_version.cache_clear()
        edit = ("user_model.py", "return helpers.scale(x)", "return vendored.layer(x)")
        pieces = {}
        found = project("Plain", edit, ("user_model.py", "import bases", "import vendored, bases"), pieces=pieces)
        assert pieces["vendored"].digest == version
        return found

    first = of("1.0")
    assert of("1.0") == first
    assert of("1.1") != first
    fingerprints.package_version.cache_clear()
    sys.modules.pop("vendored", None)


def test_classes_in_functions_count_what_they_close_over_and_defaults():
    def make(depth):
        class Local:
            def build(self):
                return depth

        return Local

    assert fingerprint_callable(make(1)) == fingerprint_callable(make(1)) != fingerprint_callable(make(2))
    rates = [lambda experiment, rate=rate: rate for rate in (0.1, 0.2)]
    assert fingerprint_callable(rates[0]) != fingerprint_callable(rates[1])


def test_a_loss_object_counts_with_its_settings_and_weights():
    losses = [
        torch.nn.CrossEntropyLoss(),
        torch.nn.CrossEntropyLoss(label_smoothing=0.1),
        torch.nn.CrossEntropyLoss(weight=torch.tensor([1.0, 2.0])),
        torch.nn.CrossEntropyLoss(weight=torch.tensor([1.0, 3.0])),
    ]
    assert len({fingerprint_callable(loss) for loss in losses}) == 4
    assert fingerprint_callable(torch.nn.CrossEntropyLoss()) == fingerprint_callable(losses[0])


def test_long_arrays_count_whole_and_equal_ones_are_equal():
    one, other = torch.zeros(5000), torch.zeros(5000)
    assert canonical({"table": one}) == canonical({"table": other})
    other[2500] = 1e-3
    assert canonical({"table": one}) != canonical({"table": other})
    assert canonical({"table": one.numpy()}) != canonical({"table": other.numpy()})
    assert canonical(functools.partial(torch.add, one)) != canonical(functools.partial(torch.add, other))


def test_what_decides_nothing_is_left_out():
    class Holder:
        def __init__(self):
            self.lock, self.rate = threading.Lock(), 0.5

    assert canonical(Holder()) == canonical(Holder())
    changed = Holder()
    changed.rate = 0.25
    assert canonical(changed) != canonical(Holder())
