"""The end of a size map cuts off and nothing else: to raise `max_params` adds sizes and experiments and moves none."""

import functools
import itertools

import planning_models as models
import pytest

from flops_fit import build_size_map, plan_from_size_map

pytestmark = pytest.mark.filterwarnings("ignore:budget .* admits no size")
CAPS = (1e5, 3e6, 7e7, 2e9, 1e11, 2e12)


@functools.cache
def map_to(model, max_params):
    return build_size_map(model, "width", max_params=max_params)


@pytest.mark.parametrize("model", [models.CharMLP, models.MLP, models.OnlyMultiplesOf24, models.CallsItem])
def test_a_larger_cap_keeps_every_size_there_was(model):
    whole = map_to(model, CAPS[-1])
    for cap in CAPS:
        sizes = {entry.size: entry.num_params for entry in map_to(model, cap).entries}
        assert sizes == {entry.size: entry.num_params for entry in whole.entries if entry.num_params <= cap}


def test_the_sizes_above_the_reference_are_as_close_as_those_below():
    counts = [entry.num_params for entry in map_to(models.CharMLP, CAPS[-1]).entries]
    assert 1e12 < counts[-1] <= 2e12
    steps = [(small, large / small) for small, large in itertools.pairwise(counts)]
    assert max(step for small, step in steps if small > 1e11) <= max(step for small, step in steps if small <= 1e11)


@pytest.mark.parametrize("model", [models.CharMLP, models.MLP, models.OnlyMultiplesOf24])
def test_what_a_dropped_point_advises_adds_experiments_and_removes_none(model):
    budgets = [10.0**exponent for exponent in range(8, 17)]
    plans = [plan_from_size_map(map_to(model, cap), budgets) for cap in CAPS]
    for before, after in itertools.pairwise(plans):
        old, new = ({item.experiment_id for item in plan.experiments} for plan in (before, after))
        assert old <= new
        for budget, items in before.by_budget().items():
            cut_off = [point for point in before.dropped if point.compute_budget == budget and "raise" in point.reason]
            if not cut_off:
                assert items == after.by_budget()[budget]
    assert any("max_params" in point.reason for point in plans[1].dropped)


def test_a_target_whose_size_is_above_the_cap_takes_no_other():
    size_map = build_size_map(models.MLP, "width", size_values=[100, 150, 290], max_params=600)
    plan = plan_from_size_map(size_map, [6 * 700 * 20 * 700.0], num_sizes_per_budget=1, span=3)
    assert plan.experiments == []  # of 700 parameters 870 is nearer than 450
    assert [point.reason for point in plan.dropped] == [
        "no size near 700 parameters: width=290 has 870 parameters, above max_params = 600; lower the budget or raise "
        "max_params"
    ]
    raised = build_size_map(models.MLP, "width", size_values=[100, 150, 290], max_params=900)
    assert [
        item.size_param_value for item in plan_from_size_map(raised, [5.88e7], num_sizes_per_budget=1).experiments
    ] == [290]
