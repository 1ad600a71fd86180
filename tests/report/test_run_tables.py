"""Tables of the report that list runs one by one list no more than can be looked through."""

import re

from flops_fit.report.run_tables import MOST_RUNS, plan_table
from flops_fit.sweep.experiment import Experiment
from flops_fit.sweep.sweep_plan import SweepPlan


def plan_of(count):
    experiments = [
        Experiment(experiment_id=f"e{k}", compute_budget=6e4, size_param_value=1, num_params=100, num_tokens=100)
        for k in range(count)
    ]
    return SweepPlan(experiments=experiments, model_cls_name="M", size_param="width", compute_budgets=[6e4])


def listed(page):
    return re.findall(r">(e\d+)<", page)


def test_a_plan_is_listed_whole_up_to_a_thousand():
    page = plan_table(plan_of(MOST_RUNS))
    assert listed(page) == [f"e{k}" for k in range(MOST_RUNS)]
    assert "spread evenly" not in page


def test_of_a_larger_one_a_thousand_from_first_to_last_are_listed():
    page = plan_table(plan_of(5000))
    shown = listed(page)
    assert (len(shown), shown[0], shown[-1]) == (MOST_RUNS, "e0", "e4999")
    assert "1,000 of 5,000 trainings, spread evenly; <code>sweep_plan.json</code>" in page
    assert len(page) < 1.05 * len(plan_table(plan_of(MOST_RUNS))), "its bytes do not grow"
