"""The size map that `plan` and `check` keep: probed once for what it follows from, said to be what it is each time."""

import dataclasses
import os
import subprocess
import sys
import warnings

import pytest
import tiny_study
import torch
from paths import ROOT
from pipeline_study import write_study

from flops_fit import DataSpec, LossSpec, ModelSpec, Study, SweepOptions
from flops_fit.errors import FlopsFitWarning
from flops_fit.kept_size_map import kept_size_map
from flops_fit.stages import study_size_map


class Counted(tiny_study.TinyMLP):
    """Counts how often it is built."""

    built = 0

    def __init__(self, width):
        super().__init__(width)
        type(self).built += 1


def study(**changes):
    sizes = {"size_param": "width", "size_values": (2, 4, 8, 16)} if "sizes" not in changes else {}
    model = ModelSpec(factory=Counted, **sizes, **changes)
    data = DataSpec(train=tiny_study.train, eval=tiny_study.held_out)
    return Study(
        name="kept",
        model=model,
        data=data,
        loss=LossSpec(fn=torch.nn.functional.cross_entropy),
        sweep=SweepOptions(compute_budgets=[3e5]),
    )


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("FLOPS_FIT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "size_maps"


def test_the_same_is_probed_once_and_is_the_same():
    first = kept_size_map(study())
    before = Counted.built
    again = kept_size_map(study())
    assert before > 0
    assert Counted.built == before
    assert first == again == study_size_map(study())


def test_whatever_a_map_follows_from_makes_another(monkeypatch):
    kept_size_map(study())
    before = Counted.built
    assert kept_size_map(study(param_count="trainable")).param_count == "trainable"
    other = dataclasses.replace(study(), data=DataSpec(train=tiny_study.held_out))
    kept_size_map(other)
    assert Counted.built >= before + 8, "four sizes each, probed again"
    before = Counted.built
    monkeypatch.setattr("torch.__version__", "99.0")
    kept_size_map(study())
    assert Counted.built > before


def test_budgets_and_recipe_do_not():
    kept_size_map(study())
    before = Counted.built
    changed = dataclasses.replace(study(), sweep=SweepOptions(compute_budgets=[9e9]))
    kept_size_map(dataclasses.replace(changed, training=dataclasses.replace(changed.training, learning_rate=1.0)))
    assert Counted.built == before


def test_what_was_warned_of_is_warned_of_again():
    def said():
        with warnings.catch_warnings(record=True) as found:
            warnings.simplefilter("always")
            kept_size_map(study(sizes=[{"width": width} for width in (-5, 2, 4)]))
        return [(item.category, str(item.message)) for item in found]

    first = said()
    assert said() == first
    assert [kind for kind, _ in first] == [FlopsFitWarning]
    assert "row 1" in first[0][1]


def test_a_damaged_file_is_no_map(cache):
    kept = kept_size_map(study())
    (path,) = cache.iterdir()
    path.write_text(path.read_text()[:-20])
    assert kept_size_map(study()) == kept
    path.write_text(path.read_text().replace('"size": 4', '"size": 5'))
    assert kept_size_map(study()) == kept


def test_a_cache_that_cannot_be_written_to_is_none(cache):
    cache.parent.mkdir()
    cache.write_text("a file where the folder belongs")
    assert kept_size_map(study()) == study_size_map(study())


def test_an_unchanged_study_is_planned_without_probing_or_what_is_heavy(tmp_path):
    """Seconds depend on the machine; what they went into does not: Dagster, SciPy, pandas and torch's compiler."""
    write_study(tmp_path)
    code = (
        "import sys; from flops_fit_assets.cli import main\n"
        "main(['plan', 'study.toml'], standalone_mode=False)\n"
        "print({'dagster', 'scipy', 'pandas', 'matplotlib', 'torch._dynamo'} & set(sys.modules))"
    )
    for _ in range(2):
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True,
            env={**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'tests' / 'helpers'}"},
        )  # fmt: skip
    assert done.stdout.strip().endswith("set()"), done.stdout[-200:]
