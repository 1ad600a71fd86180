"""The recipe: values checked, schedules and batch rules as pure functions."""

import math

import pytest

from flops_fit import Recipe
from flops_fit.errors import StudyError


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("learning_rate", 0.0),
        ("learning_rate", math.nan),
        ("learning_rate", "fast"),
        ("learning_rate", True),
        ("batch_tokens", 0),
        ("batch_tokens", "2*log(tokens)"),
        ("batch_tokens", "-1*sqrt(tokens)"),
        ("betas", (0.9,)),
        ("betas", (0.9, 1.0)),
        ("weight_decay", -0.1),
        ("gradient_clip", 0),
        ("warmup_fraction", 1.0),
        ("final_fraction", 1.5),
        ("schedule", "step"),
        ("precision", "int8"),
        ("seed", -1),
        ("seed", 0.5),
        ("eval_batch_examples", 0),
    ],
)
def test_nonsense_is_refused_with_the_name_and_the_value(option, value):
    with pytest.raises(StudyError, match=option):
        Recipe(**{option: value})


def test_linear_schedule_warms_up_and_ends_at_its_floor():
    recipe = Recipe(warmup_fraction=0.1, schedule="linear", final_fraction=0.2)
    assert recipe.schedule_factor(0.05) == pytest.approx(0.5)
    assert recipe.schedule_factor(0.1) == pytest.approx(1.0)
    assert recipe.schedule_factor(0.55) == pytest.approx(0.6)
    assert recipe.schedule_factor(1.0) == pytest.approx(0.2)


def test_cosine_and_constant_schedules():
    assert Recipe(warmup_fraction=0.0, schedule="cosine").schedule_factor(1 / 3) == pytest.approx(0.75)
    assert Recipe(warmup_fraction=0.0, schedule="constant").schedule_factor(1.0) == 1.0


def test_batch_rules():
    assert Recipe(batch_tokens="0.5*sqrt(tokens)").tokens_per_step(10_000) == 50.0
    assert Recipe(batch_tokens=4096).tokens_per_step(10_000) == 4096.0


def test_only_what_decides_the_outcome_is_in_it():
    assert Recipe(checkpoint_seconds=1.0).outcome() == Recipe(checkpoint_seconds=9.0).outcome()
    assert Recipe(learning_rate=1e-3).outcome() != Recipe(learning_rate=2e-3).outcome()
