"""An edit in words: which key of the study file was changed, from what to what, and which source was edited."""

import dataclasses

import pytest
from tiny_study import tiny_study

from flops_fit import Hardware, ModelSpec, SweepOptions
from flops_fit_assets.freshness.changes import change_text
from flops_fit_assets.freshness.settings import differences_in_words, settings_of

BEFORE = tiny_study()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"sweep": SweepOptions(compute_budgets=(2e6, 4e6, 4e9), num_sizes_per_budget=3)}, ["compute_budgets + 4e9"]),
        ({"sweep": SweepOptions(compute_budgets=(4e6, 8e6), num_sizes_per_budget=3)}, ["compute_budgets + 8e6, - 2e6"]),
        ({"sweep": SweepOptions(compute_budgets=(4e6, 2e6), num_sizes_per_budget=5)},
         ["compute_budgets from [2e6, 4e6] to [4e6, 2e6]", "num_sizes_per_budget from 3 to 5"]),
        ({"training": dataclasses.replace(BEFORE.training, learning_rate=0.03)},
         ["learning_rate of [training] from 0.02 to 0.03"]),
        ({"model": ModelSpec(factory=BEFORE.model.factory, size_param="width", max_size=64, kwargs={"dropout": 0.1})},
         ["kwargs of [model] from {} to none", "kwargs.dropout of [model] from none to 0.1"]),
        ({"hardware": Hardware(device="cpu", workers=3),
          "sweep": SweepOptions(compute_budgets=(2e6, 4e6), num_sizes_per_budget=4)},
         ["num_sizes_per_budget from 3 to 4", "workers of [hardware] from 2 to 3"]),
        ({}, []),
    ],
)  # fmt: skip
def test_keys_are_named_with_what_they_were_and_are(changes, said):
    assert differences_in_words(settings_of(BEFORE), settings_of(tiny_study(**changes))) == said


def test_sources_that_were_edited_are_named_with_what_was_in_them():
    before = settings_of(BEFORE)
    code = {name: list(kept) for name, kept in before["code"].items()}
    code["tiny_study:TinyMLP"][0] = code["tiny_study:CLASSES"][0] = "another"
    assert differences_in_words(before, before | {"code": code}) == ["tiny_study.py edited (TinyMLP, CLASSES)"]


def test_other_data_is_said_where_nothing_else_was_changed():
    before = settings_of(BEFORE)
    assert differences_in_words(before, before | {"data": "another"}) == ["the data is another"]


def test_a_long_value_is_cut():
    long = ModelSpec(factory=BEFORE.model.factory, size_param="width", max_size=64, kwargs={"note": "x" * 300})
    said = differences_in_words(settings_of(BEFORE), settings_of(tiny_study(model=long)))
    assert said[-1] == f"kwargs.note of [model] from none to {'x' * 60}…"


def test_what_was_changed_and_what_that_does_are_one_line():
    assert change_text(["compute_budgets + 4e9"], "7 added, 28 kept") == "compute_budgets + 4e9: 7 added, 28 kept"
    assert change_text([], "28 kept") == "28 kept"
    assert change_text(["a from 1 to 2", "b from 3 to 4"], "") == "a from 1 to 2, b from 3 to 4"
