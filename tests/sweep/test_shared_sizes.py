"""Sizes that budgets have in common: the same list for all, chosen by each budget alone."""

import itertools
import math
import re

import planning_models
import pytest
from trunk_study import BUDGETS, longest_trunk, plan_of, trunk_study

from flops_fit import build_size_map, plan_from_size_map
from flops_fit.recipe.trunk import saving_text, trained_flops

HALF_DECADES = (1e10, 3e10, 1e11, 3e11)


@pytest.fixture(scope="module")
def size_map():
    return build_size_map(planning_models.MLP, "width", {"depth": 1}, max_size=4096)


def sizes_of(plan):
    return {budget: [item.size_param_value for item in items] for budget, items in plan.by_budget().items()}


def test_neighbouring_budgets_have_most_sizes_in_common(size_map):
    apart = sizes_of(plan_from_size_map(size_map, HALF_DECADES))
    shared = sizes_of(plan_from_size_map(size_map, HALF_DECADES, shared_sizes=True))
    for low, high in itertools.pairwise(HALF_DECADES):
        assert len(shared[low]) == len(shared[high]) == 7
        assert len({*shared[low]} & {*shared[high]}) >= 5
    of_shared, of_apart = ({size for sizes in found.values() for size in sizes} for found in (shared, apart))
    assert len(of_shared) == 10 < len(of_apart)


def test_sizes_are_even_in_log_N_and_surround_the_optimum(size_map):
    plan = plan_from_size_map(size_map, HALF_DECADES, shared_sizes=True)
    step = 2 * math.log(6) / 6
    for budget, items in plan.by_budget().items():
        logs = [math.log(item.num_params) for item in items]
        places = [round(each / step) for each in logs]
        assert places == list(range(places[0], places[0] + 7))
        assert logs[3] == pytest.approx(math.log(math.sqrt(budget / 120)), abs=0.6 * step)


def test_a_budget_is_planned_alone_and_an_extended_plan_holds_the_shorter(size_map):
    whole = plan_from_size_map(size_map, HALF_DECADES, shared_sizes=True)
    for budget in HALF_DECADES:
        alone = plan_from_size_map(size_map, [budget], shared_sizes=True)
        assert alone.experiments == whole.by_budget()[budget]


def test_by_budgets_of_any_grid_a_size_has_the_same_tokens_for_its_recipe(size_map):
    plan = plan_from_size_map(size_map, HALF_DECADES, shared_sizes=True, seeds=(0, 1))
    for item in plan.experiments:
        assert item.recipe_tokens == round(item.num_params)  # a twentieth of 20 per parameter
    assert len({item.trunk for item in plan.experiments}) == 2 * len(plan.sizes())


def test_to_raise_max_params_adds_sizes_and_changes_none():
    maps = [
        build_size_map(planning_models.MLP, "width", {"depth": 1}, max_size=4096, max_params=most)
        for most in (20_000, 60_000, 1e9)
    ]
    plans = [plan_from_size_map(each, HALF_DECADES, shared_sizes=True, identity="same") for each in maps]
    ids = [{item.experiment_id for item in plan.experiments} for plan in plans]
    assert ids[0] < ids[1] < ids[2]
    assert any("raise max_params" in point.reason for point in plans[0].dropped)
    assert all(len(plan.experiments) + len(plan.dropped) == 28 for plan in plans)


def test_a_study_that_shares_trunks_has_such_a_plan_and_says_what_it_saves():
    study = trunk_study()
    plan = plan_of(study)
    assert all(item.recipe_tokens == item.num_params for item in plan.experiments)
    (said,) = plan.notes
    assert said.startswith("9 experiments branch from 4 trunks: ")
    assert "instead of 4.20e+07, 30% less" in said
    ids = {item.experiment_id for item in plan.experiments}
    more = plan_of(trunk_study(budgets=(*BUDGETS, 1.6e7)))
    added = [item for item in more.experiments if item.experiment_id not in ids]
    assert ids < {item.experiment_id for item in more.experiments}
    assert {item.compute_budget for item in added} == {1.6e7}
    assert {item.trunk for item in added} & {item.trunk for item in plan.experiments}, "and goes on from them"


def test_budgets_far_apart_are_told_what_doubling_ones_would_save():
    plan = plan_of(trunk_study(budgets=(2e6, 1.6e7)))
    (said,) = [note for note in plan.notes if "tokens that double" in note]
    assert said.startswith("compute_budgets = [2.00e+06, 4.00e+06, 8.00e+06, 1.60e+07], each double the one before")
    typed = tuple(map(float, re.findall(r"\[(.*)\]", said)[0].split(", ")))
    doubled = plan_of(trunk_study(budgets=typed))
    recipe = trunk_study().training
    assert saving_text(recipe, doubled.experiments) in said
    now, then = (trained_flops(recipe, each.experiments) for each in (plan, doubled))
    assert said.endswith(f"{then / now - 1:.0%} more than this plan trains")
    tokens = [item.num_tokens for item in longest_trunk(doubled)]
    ratios = [after / before for before, after in itertools.pairwise(tokens)]
    assert ratios == pytest.approx([2] * (len(tokens) - 1), rel=1e-2)
    assert not [note for note in doubled.notes if "tokens that double" in note]


def test_trunks_do_not_change_ids_of_other_studies(size_map):
    plan = plan_from_size_map(size_map, HALF_DECADES)
    assert all(item.recipe_tokens is None and item.trunk == "" for item in plan.experiments)
    assert all("recipe_tokens" not in item.to_dict() for item in plan.experiments)
