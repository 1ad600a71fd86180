"""Trunks as functions of the size and the steps alone, and what of them each experiment trains."""

import dataclasses
import itertools

import pytest

from flops_fit import Recipe
from flops_fit.cost.estimate import peak_memory
from flops_fit.errors import StudyError
from flops_fit.recipe.in_words import recipe_text
from flops_fit.recipe.recipe import DEFAULT_RATE
from flops_fit.recipe.steps import plan_steps
from flops_fit.recipe.trunk import doubled, own_parts, saving_text, trained_flops
from flops_fit.recipe.trunk_parts import at_branch
from flops_fit.sweep.experiment import Experiment


def experiment(tokens, recipe_tokens=1000, params=1000):
    return Experiment(
        experiment_id=f"of-{tokens}", compute_budget=6.0 * params * tokens, size_param="width", size_param_value=8,
        num_params=params, num_tokens=tokens, flops_per_token=6.0 * params, recipe_tokens=recipe_tokens,
    )  # fmt: skip


CONSTANT = Recipe(schedule="wsd", share_trunk=True, learning_rate=0.01, batch_tokens=10, betas=(0.9, 0.95))
DEFAULT = Recipe(schedule="wsd", share_trunk=True)


def rates(recipe, tokens):
    steps = plan_steps(recipe, experiment(tokens), 1)
    return [steps.rate_factor(recipe, step) for step in range(steps.steps)], steps


@pytest.mark.parametrize("recipe", [CONSTANT, DEFAULT])
@pytest.mark.parametrize(("short", "long"), [(700, 5000), (5000, 40_000), (39_990, 40_000)])
def test_what_is_before_the_branch_of_the_shorter_is_the_same_in_the_longer(recipe, short, long):
    (few, one), (many, other) = rates(recipe, short), rates(recipe, long)
    assert 0 < one.branch <= other.branch
    assert few[: one.branch] == many[: one.branch]
    assert [one.end(step) for step in range(one.branch + 1)] == [other.end(step) for step in range(one.branch + 1)]
    betas = [[steps.second_beta(step) for step in range(one.branch)] for steps in (one, other)]
    assert betas[0] == betas[1]


@pytest.mark.parametrize("tokens", [1, 9, 12, 137, 700, 5003, 40_000])
@pytest.mark.parametrize("recipe", [CONSTANT, DEFAULT])
def test_every_example_is_of_one_step_and_the_rate_ends_near_0(recipe, tokens):
    factors, steps = rates(recipe, tokens)
    ends = [steps.end(step) for step in range(steps.steps + 1)]
    assert (ends[0], ends[-1]) == (0, tokens)
    assert all(after > before for before, after in itertools.pairwise(ends))
    falling = [after - before for before, after in itertools.pairwise(ends[steps.branch :])]
    assert max(falling) - min(falling) <= 1
    assert min(factors) > 0
    assert factors[-1] <= max(factors) / len(falling)
    assert ends[steps.branch] <= 0.8 * tokens


def test_with_a_batch_and_a_rate_that_are_numbers_it_is_constant_after_its_warmup():
    factors, steps = rates(CONSTANT, 5000)
    assert (steps.branch, steps.steps) == (400, 500)
    assert factors[:10] == pytest.approx([0.05, 0.15, 0.25, 0.35, 0.45, 0.55, 0.65, 0.75, 0.85, 0.95])  # of 100 tokens
    assert set(factors[10:400]) == {1.0}
    assert factors[400:] == pytest.approx([1 - (step + 0.5) / 100 for step in range(100)])


def test_batch_rate_and_beta2_are_those_of_a_training_that_ends_near_there():
    steps = plan_steps(DEFAULT, experiment(200_000), 1)
    for part in steps.parts[1:]:
        tokens = part.examples + 1
        alone = dataclasses.replace(experiment(tokens), recipe_tokens=None)
        assert part.batch == pytest.approx(DEFAULT.tokens_per_step(alone), rel=0.06)
        rate = part.rate * DEFAULT.peak_learning_rate(experiment(200_000))
        assert rate == pytest.approx(DEFAULT.peak_learning_rate(alone), rel=0.04)
        assert part.second_beta == pytest.approx(DEFAULT.of(alone).betas[1], abs=0.01)
    assert len(steps.parts) > 20


@pytest.mark.parametrize("tokens", [500, 1000, 5000, 77_000])
def test_at_its_branch_it_has_the_batch_and_the_rate_of_its_last_part(tokens):
    item, steps = experiment(tokens), plan_steps(DEFAULT, experiment(tokens), 1)
    there = at_branch(DEFAULT, item)
    assert steps.parts[-1].batch == max(1, round(DEFAULT.tokens_per_step(there)))
    rate = DEFAULT.peak_learning_rate(item) * steps.highest_factor
    assert DEFAULT.peak_learning_rate(there) == pytest.approx(rate)
    alone = dataclasses.replace(item, recipe_tokens=None)
    assert at_branch(DEFAULT, alone) is alone
    memory = [peak_memory(dataclasses.replace(each, total_params=1000, activation_bytes_per_token=1e3), DEFAULT)
              for each in (item, experiment(1000))]  # fmt: skip
    assert memory[0] >= memory[1]
    assert memory[0] == pytest.approx(16e3 + 1e3 * DEFAULT.tokens_per_step(there))
    said = recipe_text(DEFAULT, [item], "token")
    assert said.startswith(f"learning rate {DEFAULT.peak_learning_rate(item):.3g}")
    assert (" to " in said.partition("(")[0]) == (there != item)


def test_a_rate_by_a_function_is_asked_for_trainings_of_the_size():
    asked = []

    def rate(item):
        asked.append(item.num_tokens)
        return 10 / item.num_tokens

    recipe = dataclasses.replace(CONSTANT, learning_rate=rate)
    steps = plan_steps(recipe, experiment(10_000), 1)
    assert set(asked) == {round(1000 * 1.25**number) for number in range(len(steps.parts))}
    falling = [1.25**-number for number in range(len(steps.parts))]
    assert [part.rate for part in steps.parts] == pytest.approx(falling, rel=1e-3)


THREE = [experiment(tokens) for tokens in (1000, 2000, 4000)]  # of which 800, 1600 and 3200 are of the trunk


def test_the_longest_trains_the_trunk_and_the_others_go_on_from_where_it_passed():
    three = THREE
    own = own_parts(CONSTANT, three)
    assert [own[item.experiment_id].examples for item in three] == [1000 - 800, 2000 - 1600, 4000]
    assert [own[item.experiment_id].steps for item in three] == [20, 40, 400]
    assert [own[item.experiment_id].share for item in three] == pytest.approx([0.2, 0.2, 1.0])
    flops = 6000.0 * (200 + 400 + 4000)
    assert trained_flops(CONSTANT, three) == pytest.approx(flops)
    assert saving_text(CONSTANT, three).endswith("instead of 4.20e+07, 34% less")
    assert own_parts(CONSTANT, three[::-1]) == own, "whatever the order"
    assert own_parts(Recipe(), three) == {}


@pytest.mark.parametrize(
    ("taken", "examples"),
    [
        ({1000: 0}, [1000, 2000 - 1600, 4000 - 800]),
        ({1000: 0, 2000: 800}, [1000, 2000 - 800, 4000 - 1600]),
        ({2000: 0}, [1000 - 800, 2000, 4000 - 1600]),
        ({4000: 0}, [1000 - 800, 2000 - 1600, 4000]),
        ({4000: 0, 1000: 800, 2000: 1600}, [1000 - 800, 2000 - 1600, 4000]),
    ],
)
def test_what_is_finished_has_trained_what_it_has_and_the_rest_goes_on_from_there(taken, examples):
    done = {f"of-{tokens}": others for tokens, others in taken.items()}
    own = own_parts(CONSTANT, THREE, taken=done)
    assert [own[item.experiment_id].examples for item in THREE] == examples


@pytest.mark.parametrize(
    ("taken", "kept", "examples"),
    [
        ({4000: 0}, [320], [1000 - 800, 2000, 4000]),  # the shorter ones were planned later
        ({4000: 0}, [80, 320], [1000 - 800, 2000 - 800, 4000]),
        ({4000: 0}, [], [1000 - 800, 2000, 4000]),  # states were deleted
        ({}, [80], [1000 - 800, 2000 - 1600, 4000 - 800]),  # of one that was interrupted
    ],
)
def test_where_it_is_known_which_states_are_kept_the_rest_goes_on_from_these(taken, kept, examples):
    name = THREE[0].trunk
    own = own_parts(
        CONSTANT, THREE, taken={f"of-{tokens}": others for tokens, others in taken.items()}, kept={name: kept}
    )
    assert [own[item.experiment_id].examples for item in THREE] == examples


def test_budgets_that_double():
    assert doubled(1e9, 8e9) == [1e9, 2e9, 4e9, 8e9]
    assert doubled(2e9, 6e10) == [1.88e9, 3.75e9, 7.5e9, 1.5e10, 3e10, 6e10]
    assert doubled(5e9, 5e9) == [5e9]


def test_the_default_rate_is_lower():
    assert Recipe().learning_rate == DEFAULT_RATE
    shared = Recipe(schedule="wsd", share_trunk=True)
    ratio = shared.peak_learning_rate(experiment(1000)) / Recipe().peak_learning_rate(experiment(1000))
    assert ratio == pytest.approx(0.6, rel=0.01)
    assert Recipe(schedule="wsd", share_trunk=True, learning_rate=0.01).learning_rate == 0.01


def test_what_has_nothing_to_share_is_refused():
    with pytest.raises(StudyError, match=r'schedule = "linear", which decays from the start.*give schedule = "wsd"'):
        Recipe(share_trunk=True)
    with pytest.raises(StudyError, match='learning_rate = "tune", which gives every experiment values of its own'):
        Recipe(share_trunk=True, schedule="wsd", learning_rate="tune")
    with pytest.raises(StudyError, match="share_trunk = 'yes'"):
        Recipe(share_trunk="yes", schedule="wsd")


def test_it_is_in_the_outcome_only_where_it_is_asked_for():
    assert "share_trunk" not in Recipe(schedule="wsd").outcome()
    assert DEFAULT.outcome()["share_trunk"] is True
