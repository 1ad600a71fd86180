"""What `**options` takes is in the signature, so that it can be completed; the call is checked as before."""

import inspect
from dataclasses import fields

import pytest

import flops_fit
from flops_fit.cost.hardware import Hardware
from flops_fit.recipe.recipe import Recipe
from flops_fit.sweep.counts import plan_from_counts
from flops_fit.sweep.options import GridOptions


@pytest.mark.parametrize(
    ("function", "options"),
    [
        (flops_fit.find_optimal, {*(item.name for kind in (Recipe, Hardware) for item in fields(kind)), "tuning"}),
        (flops_fit.find_optimal, {"num_sizes_per_budget", "flops", "target_budget", "total_compute", "max_epochs"}),
        (flops_fit.plan_sweep, {*GridOptions.__dataclass_fields__, "max_params", "flops", "param_count", "identity"}),
        (flops_fit.plan_from_size_map, {*GridOptions.__dataclass_fields__}),
        (plan_from_counts, {*GridOptions.__dataclass_fields__, "identity"}),
    ],
)
def test_options_are_in_the_signature(function, options):
    shown = inspect.signature(function).parameters
    assert options - {"name"} <= shown.keys() | {"version"}
    assert all(item.kind is not item.VAR_KEYWORD for item in shown.values())
    assert next(iter(shown.values())).kind is inspect.Parameter.POSITIONAL_OR_KEYWORD


def test_what_is_shown_is_what_is_taken():
    taken = inspect.signature(flops_fit.find_optimal).parameters
    for not_an_option in ("factory", "size_param", "train_data", "centre_on_law", "name"):
        assert not_an_option not in taken
    assert taken["num_sizes_per_budget"].default == 7
    with pytest.raises(TypeError, match="unknown option"):
        flops_fit.plan_sweep(object, "width", None, [1e9], spann=3)


def test_a_plan_in_a_notebook_has_its_budgets_and_their_total():
    plan = plan_from_counts((1e6, 1e9), ["1e17", "1e18", 1e13])
    shown = plan._repr_html_()
    for budget, experiments in plan.by_budget().items():
        spent = sum(item.planned_flops for item in experiments)
        assert f">{budget:.2e}<" in shown
        assert f">{spent:.2e}<" in shown
    assert f">{plan.total_flops:.2e}<" in shown
    assert f">{plan.num_experiments}<" in shown
    assert shown.count("not planned at 1.00e+13 FLOPs") == len(plan.dropped)
