"""A recipe in a line: the values over the plan, and the rules behind them."""

import pytest
from tiny_study import tiny_study

from flops_fit import Recipe
from flops_fit.recipe.in_words import recipe_text
from flops_fit.stages import study_plan, study_size_map


@pytest.fixture(scope="module")
def planned():
    study = tiny_study()
    return study_plan(study, study_size_map(study)).experiments


def test_rules_are_shown_with_what_they_come_to(planned):
    text = recipe_text(Recipe(weight_decay=0.0), planned, "token")
    assert text.startswith("learning rate ")
    assert "(min(0.02, 0.47*sqrt(batch)*params^-0.6)), batch " in text
    assert " tokens (0.06*tokens^0.67), beta2 " in text
    assert text.endswith("(auto), weight decay 0")


def test_plain_numbers_and_functions_are_shown_as_such(planned):
    def halved(experiment):
        return 0.5

    text = recipe_text(Recipe(learning_rate=halved, batch_tokens=64, betas=(0.9, 0.95)), planned, "image")
    assert text == "learning rate 0.5 (halved), batch 64 images, beta2 0.95, weight decay 0.1"


def test_what_is_still_to_be_found_is_said(planned):
    text = recipe_text(Recipe(learning_rate="tune", batch_tokens="tune"), planned, "token")
    assert text == "learning_rate, batch_tokens found by trials first"
    assert recipe_text(Recipe(), [], "token") == ""
