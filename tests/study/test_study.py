"""A study as data: what is refused, and what changes its fingerprints."""

import math
import pickle
import textwrap

import pytest
import torch
from tiny_study import TinyMLP, held_out, tiny_study, train

from flops_fit import DataSpec, Hardware, ModelSpec, Recipe, Study, SweepOptions
from flops_fit.errors import StudyError

GOOD = """
name = "mine"
[model]
factory = "tiny_study:TinyMLP"
size_param = "width"
kwargs = { dropout = 0.1 }
[data]
train = "tiny_study:train"
eval = "tiny_study:held_out"
[loss]
fn = "torch.nn:CrossEntropyLoss"
[sweep]
compute_budgets = ["2e6", 1e6, 4_000_000]
seeds = [0, 1]
[training]
learning_rate = 0.01
batch_tokens = "0.5*sqrt(tokens)"
[hardware]
device = "cpu"
"""


def read(tmp_path, text):
    path = tmp_path / "study.toml"
    path.write_text(textwrap.dedent(text))
    return Study.from_toml(path)


def test_a_study_file_is_read_as_it_says(tmp_path):
    study = read(tmp_path, GOOD)
    assert study.model.factory is TinyMLP
    assert study.sweep.compute_budgets == (2e6, 1e6, 4e6)
    assert study.sweep.seeds == (0, 1)
    assert study.training == Recipe(learning_rate=0.01, batch_tokens="0.5*sqrt(tokens)")
    assert isinstance(study.loss_function, torch.nn.CrossEntropyLoss)
    assert study.prepared_data.train.num_examples == 60_000
    assert study.to_dict()["model"]["factory"] == "tiny_study:TinyMLP"


def test_modules_beside_the_study_file_are_found(tmp_path):
    (tmp_path / "beside_the_study.py").write_text("def model(width):\n    return width\n")
    text = '[model]\nfactory = "beside_the_study:model"\nsize_param = "width"\n[sweep]\ncompute_budgets = [1e6]\n'
    assert read(tmp_path, text).model.factory(3) == 3


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('name = "mine"', 'name = "../mine"', r"name = '\.\./mine' must be a letter"),
        ("[model]", "[model]\nnum_params = [1e6, 1e9]", r"\[model\] has factory and num_params, .*; leave one out"),
        (
            "[model]",
            "[model]\nheads = 4",
            r"argument of the model is written kwargs = \{ heads = 4 \}, and",
        ),
        ("[training]", "[trainng]", r"unknown key 'trainng'; did you mean 'training'"),
        (
            "learning_rate",
            "learnin_rate",
            r"\[training\] has an unknown key 'learnin_rate'; did you mean 'learning_rate'",
        ),
        (
            "[training]",
            "[training]\nworkers = 2",
            r"\[training\] has an unknown key 'workers'; it is a key of \[hardware\]: write it below that line",
        ),
        ("learning_rate = 0.01", 'learning_rate = "fast"', r"learning_rate = 'fast' must be a number above 0"),
        ('"tiny_study:TinyMLP"', '"tiny_study.TinyMLP"', r"must be \"package\.module:attribute\""),
        ('"tiny_study:TinyMLP"', '"tiny_study:TinyMPL"', r"has no 'TinyMPL'; did you mean 'TinyMLP'"),
        ('"tiny_study:TinyMLP"', '"no_such_module:Model"', "cannot be imported.*no_such_module"),
        ('"tiny_study:TinyMLP"', '"tiny_study:FEATURES"', r"\[model\] factory = 6 must be a class or function"),
        ('size_param = "width"\n', "", r"\[model\].*size_param"),
        ("[sweep]", "[sweep", "not valid TOML"),
        ("kwargs = { dropout = 0.1 }", "kwargs = { width = 1 }", "kwargs sets width = 1, which is the size parameter"),
        ("4_000_000", "-1", "-1"),
        ("4_000_000", "0", "0"),
        ("4_000_000", "nan", "nan"),
        ("4_000_000", "inf", "inf"),
        ("4_000_000", '"many"', "many"),
        ("4_000_000", "true", "True"),
        ('["2e6", 1e6, 4_000_000]', "[]", r"\[sweep\] compute_budgets = \(\) must be a list of at least one"),
        ('["2e6", 1e6, 4_000_000]', "1e6", r"\[sweep\] compute_budgets = 1000000\.0 must be a list"),
        ("seeds = [0, 1]", "num_sizes_per_budget = 0", "num_sizes_per_budget = 0 must be a whole number of at least 1"),
        ("seeds = [0, 1]", "max_epochs = -1.0", r"max_epochs = -1\.0 must be a number above 0"),
    ],
)
def test_bad_values_are_refused_with_file_value_and_remedy(tmp_path, old, new, message):
    assert old in GOOD
    with pytest.raises(StudyError, match=message) as refused:
        read(tmp_path, GOOD.replace(old, new, 1))
    assert "study.toml" in str(refused.value)


def test_missing_files_and_sections_are_named(tmp_path):
    with pytest.raises(StudyError, match="does not exist"):
        Study.from_toml(tmp_path / "none.toml")
    with pytest.raises(StudyError, match=r"section \[sweep\] is missing"):
        read(tmp_path, '[model]\nfactory = "tiny_study:TinyMLP"\nsize_param = "width"\n')


@pytest.mark.parametrize("budget", [0, -1.0, math.nan, math.inf, "many", True, None, [1e6]])
def test_budgets_that_are_none_are_refused_in_a_study(budget):
    with pytest.raises(ValueError, match="budget"):
        SweepOptions(compute_budgets=(1e6, budget))


def test_fingerprints_change_with_what_they_stand_for_and_nothing_else():
    base = tiny_study()
    budgets = tiny_study(sweep=SweepOptions(compute_budgets=(1e6,)))
    same = SweepOptions(compute_budgets=("4e6", 2e6, 4e6), num_sizes_per_budget=3)  # in another order, and one twice
    recipe = tiny_study(training=Recipe(learning_rate=0.5))
    machine = tiny_study(hardware=Hardware(device="cpu", workers=1))
    model = tiny_study(model=ModelSpec(factory=TinyMLP, size_param="width", max_size=64, kwargs={"dropout": 0.5}))
    range_only = tiny_study(model=ModelSpec(factory=TinyMLP, size_param="width", max_size=32))
    data = tiny_study(data=DataSpec(train=held_out, eval=train))

    def marks(study):
        return study.model_fingerprint(), study.outcome_fingerprint(), study.sweep_fingerprint()

    def changed(study):
        return tuple(one != other for one, other in zip(marks(base), marks(study), strict=True))

    assert changed(tiny_study()) == changed(tiny_study(sweep=same)) == (False, False, False)
    assert changed(budgets) == (False, False, True)
    assert changed(recipe) == (False, True, True)
    assert changed(machine) == (False, False, False)
    assert changed(model) == (True, True, True)
    assert changed(range_only) == (True, False, False)
    assert changed(data) == (False, True, True)


def test_a_declared_version_replaces_source_hashing():
    def one(width):
        return TinyMLP(width)

    def other(width):
        return TinyMLP(width + 0)

    def mark(factory, version):
        spec = ModelSpec(factory=factory, size_param="width", version=version)
        return tiny_study(model=spec).outcome_fingerprint()

    assert mark(one, None) != mark(other, None)
    assert mark(one, "v1") == mark(other, "v1") != mark(one, "v2")


def test_a_study_travels_without_its_opened_data():
    study = tiny_study()
    assert study.prepared_data.train.num_examples == 60_000
    copy = pickle.loads(pickle.dumps(study))
    assert "prepared_data" not in vars(copy)
    assert len(pickle.dumps(study)) < 5000
    assert copy.outcome_fingerprint() == study.outcome_fingerprint()
