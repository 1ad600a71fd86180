"""Which trainings check the learning rate of a grid: of which budgets, at which rates, and what they cost."""

import dataclasses

import pytest
from played_trials import PlayedTuning, tuned_study
from tiny_study import tiny_size_map, tiny_study

from flops_fit import Recipe, SweepOptions, TrainerSpec
from flops_fit.adaptive.options import AdaptiveOptions
from flops_fit.errors import StudyError
from flops_fit.stages import plan_to_look_at, study_plan
from flops_fit.sweep.sweep_plan import SweepPlan

GRID = {"num_sizes_per_budget": 7, "tokens_per_param": 40.0, "span": 3.0}
BUDGETS = (2e6, 6e6, 2e7)


def planned(budgets=BUDGETS, check=True, training=None, **sweep):
    options = SweepOptions(compute_budgets=budgets, check_learning_rate=check, **GRID | sweep)
    study = tiny_study(sweep=options, training=training or Recipe(learning_rate=0.02))
    return study_plan(study, tiny_size_map()), study


def checked_budgets(plan):
    return [item.compute_budget for item in plan.checks]


def test_the_centre_of_the_cheap_budgets_is_tried_at_half_and_double_the_rate():
    plan, study = planned()
    assert checked_budgets(plan) == [2e6, 2e6, 6e6, 6e6]
    for low, high in zip(plan.checks[::2], plan.checks[1::2], strict=True):
        mine = [item for item in plan.experiments if item.compute_budget == low.compute_budget]
        centre = mine[3]
        assert {low.size_param_value, high.size_param_value} == {centre.size_param_value}
        assert {low.num_tokens, high.num_tokens} == {centre.num_tokens}
        assert [study.training.peak_learning_rate(item) for item in (low, high)] == [0.01, 0.04]
    spent = sum(item.planned_flops for item in plan.checks)
    assert spent <= 0.1 * plan.total_flops
    assert (
        f"4 trainings of the centre size at half and double the rate, 1.60e+07 FLOPs, {spent / plan.total_flops:.1%}"
        in (plan.notes[-1])
    )


def test_switching_it_on_leaves_the_grid_and_its_ids_as_they_are():
    with_checks, _ = planned()
    without, _ = planned(check=False)
    assert with_checks.experiments == without.experiments
    assert without.checks == []
    diff = without.diff(with_checks)
    assert (list(diff.added), diff.removed) == (with_checks.checks, ())


def test_a_larger_budget_only_adds():
    before, after = (planned(budgets)[0] for budgets in ((1e6, 3e6), (1e6, 3e6, 9e6)))
    assert (checked_budgets(before), checked_budgets(after)) == ([1e6, 1e6], [1e6, 1e6, 3e6, 3e6])
    assert {item.experiment_id for item in before.checks} < {item.experiment_id for item in after.checks}


def test_budgets_may_be_named_whatever_they_cost():
    plan, _ = planned(check=["2e7", 2e6])
    assert checked_budgets(plan) == [2e6, 2e6, 2e7, 2e7]
    with pytest.raises(
        StudyError, match=r"names 3.00e\+07 FLOPs, where the grid has no experiment; it has some at 2.0"
    ):
        planned(check=[3e7])


def test_where_it_would_cost_too_much_the_plan_says_so():
    plan, _ = planned(budgets=(2e6,))
    assert plan.checks == []
    assert "is not checked: at the cheapest budget that takes more than 10%" in plan.notes[-1]
    assert checked_budgets(planned(budgets=(2e6,), check=[2e6])[0]) == [2e6, 2e6]


@pytest.mark.filterwarnings("ignore:learning_rate will be tuned first:flops_fit.errors.FlopsFitWarning")
def test_a_tuned_rate_is_checked_unless_the_study_says_no():
    study = dataclasses.replace(tuned_study(), sweep=SweepOptions(compute_budgets=BUDGETS, **GRID))
    assert study_plan(study, tiny_size_map()).checks == [], "the rate is not known yet"
    looked_at = plan_to_look_at(study, tiny_size_map())
    start = dict(looked_at.experiments[0].tuned)["learning_rate"]
    assert [dict(item.tuned)["learning_rate"] / start for item in looked_at.checks] == [0.5, 2.0, 0.5, 2.0]
    known = study.with_tuned_recipe(PlayedTuning(study).play().found)
    plan = study_plan(known, tiny_size_map())
    centre = {item.compute_budget: item for item in plan.experiments[3::7]}
    for low, high in zip(plan.checks[::2], plan.checks[1::2], strict=True):
        used = study.training.peak_learning_rate(centre[low.compute_budget])
        assert [study.training.peak_learning_rate(item) / used for item in (low, high)] == [0.5, 2.0]
    off = dataclasses.replace(study, sweep=SweepOptions(compute_budgets=BUDGETS, check_learning_rate=False))
    assert (off.checks_learning_rate, tiny_study().checks_learning_rate) == (False, False)


def test_a_plan_with_checks_is_kept_whole():
    plan, _ = planned()
    again = SweepPlan.from_dict(plan.to_dict())
    assert again == plan
    assert again.content_hash == plan.content_hash
    assert plan.content_hash != planned(check=False)[0].content_hash


def test_the_first_seed_is_checked():
    plan, _ = planned(seeds=(3, 4, 5))
    assert {item.seed for item in plan.checks} == {3}
    assert max(checked_budgets(plan)) == 2e7, "three times the grid pays for more checks"


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ({"trainer": TrainerSpec(command="train {width}")}, "with a trainer, which does not get the recipe"),
        ({"adaptive": AdaptiveOptions(target_budget=1e9, total_compute=1e8)}, r"with \[adaptive\], which has no grid"),
    ],
)
def test_where_it_cannot_be_checked_it_is_refused(sections, message):
    with pytest.raises(StudyError, match=message):
        tiny_study(sweep=SweepOptions(compute_budgets=BUDGETS, check_learning_rate=True), **sections)


@pytest.mark.parametrize("given", ["yes", [], 2e6])
def test_what_is_no_choice_is_refused(given):
    with pytest.raises(
        Exception, match=r"check_learning_rate = .* must be true or false, or left out, or a list of bud"
    ):
        SweepOptions(compute_budgets=BUDGETS, check_learning_rate=given)
