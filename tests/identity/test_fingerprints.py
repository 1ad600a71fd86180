"""Identity is content: what changes an experiment's id and what does not."""

import functools
import importlib
import linecache
import shutil
import subprocess
import sys
import textwrap
import venv
from pathlib import Path

import numpy as np
import pytest
import torch

import flops_fit.loss
from flops_fit.identity.fingerprints import canonical, content_hash, fingerprint_callable

MODEL = """
import torch

DEPTH = 2

class Block(torch.nn.Module):
    def __init__(self, width):
        super().__init__()
        self.linear = torch.nn.Linear(width, width)

class Model(torch.nn.Module):
    def __init__(self, width):
        super().__init__()
        self.blocks = torch.nn.ModuleList([Block(width) for _ in range(DEPTH)])
"""


@pytest.fixture
def fingerprint_of(tmp_path, monkeypatch):
    """Fingerprint of `Model` in a module `user_model` with the given source."""
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)

    def compute(source):
        (tmp_path / "user_model.py").write_text(textwrap.dedent(source))
        sys.modules.pop("user_model", None)
        importlib.invalidate_caches()
        linecache.clearcache()
        return fingerprint_callable(importlib.import_module("user_model").Model)

    yield compute
    sys.modules.pop("user_model", None)


def test_comments_formatting_docstrings_and_annotations_do_not_count(fingerprint_of):
    edited = MODEL.replace(
        "    def __init__(self, width):", '    "Prose."\n\n    def __init__(self,  width: int) -> None:  # why'
    )
    assert edited != MODEL
    assert fingerprint_of(edited) == fingerprint_of(MODEL)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("DEPTH = 2", "DEPTH = 3"),  # a constant the model refers to
        ("Linear(width, width)", "Linear(width, 2 * width)"),  # in a class the model uses
        ("range(DEPTH)", "range(DEPTH + 1)"),  # in the model itself
    ],
)
def test_what_the_model_is_made_of_counts(fingerprint_of, old, new):
    assert fingerprint_of(MODEL.replace(old, new)) != fingerprint_of(MODEL)


def test_an_unrelated_change_in_the_same_file_does_not_count(fingerprint_of):
    assert fingerprint_of(MODEL + "\ndef unrelated():\n    return 1\n") == fingerprint_of(MODEL)


def test_lambdas_on_one_line_differ_and_closures_count():
    first, second = (lambda x: x + 1), (lambda x: x + 2)
    assert fingerprint_callable(first) != fingerprint_callable(second)

    def make(depth):
        def build(width):
            return depth * width

        return build

    assert fingerprint_callable(make(1)) != fingerprint_callable(make(2))
    assert fingerprint_callable(make(2)) == fingerprint_callable(make(2))


def test_partials_count_their_arguments():
    base = fingerprint_callable(functools.partial(torch.nn.Linear, 4))
    assert base == fingerprint_callable(functools.partial(torch.nn.Linear, 4))
    assert base != fingerprint_callable(functools.partial(torch.nn.Linear, 5))


def test_content_hash_ignores_container_and_number_types():
    assert content_hash({"b": (1, 2.0), "a": np.int64(3)}) == content_hash({"a": 3, "b": [1, 2]})
    assert content_hash([1.5]) != content_hash([1.25])
    assert canonical({3, 1, 2}) == [1, 2, 3]
    assert len(content_hash(None)) == 64


# Of what Python brings the name counts, as of torch, which takes seconds to load.
CONSOLE = """
import argparse, fractions
from flops_fit.identity.fingerprints import fingerprint_callable
class Model(argparse.Namespace):
    def __init__(self, width):
        super().__init__()
        self.linear = fractions.Fraction(width, FACTOR * width)
print(fingerprint_callable(Model))
"""


def test_a_class_typed_into_a_console_is_known_by_what_its_methods_do():
    def printed():
        code = CONSOLE.replace("FACTOR", "2") + CONSOLE.replace("FACTOR", "3")
        ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        return ran.stdout.split()

    once, again = printed(), printed()
    assert once == again
    assert len(set(once)) == 2


OWN = """
import flops_fit, sysconfig
from flops_fit import loss
from flops_fit.identity.fingerprints import fingerprint_callable
print(flops_fit.__file__.startswith(sysconfig.get_path("purelib")), flops_fit.__version__)
print(*map(fingerprint_callable, [loss.cross_entropy, loss.model_loss, loss.validate_loss_fn]))
"""


def test_the_librarys_own_losses_are_the_same_installed_or_not_and_in_every_version(tmp_path):
    """As a wheel of another version would put them into a site-packages of their own."""
    venv.create(tmp_path, with_pip=False)
    (packages,) = tmp_path.glob("lib/python*/site-packages")
    source = Path(flops_fit.__file__).parent
    shutil.copytree(source, packages / "flops_fit", ignore=shutil.ignore_patterns("__pycache__"))
    init = packages / "flops_fit" / "__init__.py"
    init.write_text(init.read_text().replace(f'__version__ = "{flops_fit.__version__}"', '__version__ = "77.0"'))
    command = [str(tmp_path / "bin" / "python"), "-I", "-c", OWN]
    where, fingerprints = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    assert where == "True 77.0"
    here = (flops_fit.loss.cross_entropy, flops_fit.loss.model_loss, flops_fit.loss.validate_loss_fn)
    assert fingerprints.split() == [fingerprint_callable(function) for function in here]
    assert fingerprints.split()[0] == "f046bff76e3cab18", "as it always was from an editable install"
