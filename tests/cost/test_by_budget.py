"""What a budget was said to cost, has cost and will have cost, is the sum of its trainings'."""

import dataclasses

import pytest

from flops_fit.cost.by_budget import costs_by_budget, costs_text
from flops_fit.cost.drawn_costs import drawn_costs
from flops_fit.cost.estimate import estimate
from flops_fit.cost.hardware import Hardware
from flops_fit.cost.spending import spending
from flops_fit.results.results import ExperimentResult, failed_result
from flops_fit.sweep.experiment import Experiment
from flops_fit.sweep.sweep_plan import SweepPlan

BUDGETS = (6e9, 6e10)
PLAN = SweepPlan(
    [Experiment(f"{budget:g}-{i}", budget, i, 1_000 * i, int(budget / 6_000 / i)) for budget in BUDGETS for i in (1, 2)]
    + [Experiment("imported", 6e10, 8, 8_000, 1_250_000)],
    "Model", "width", list(BUDGETS),
)  # fmt: skip


def result(item, seconds, **more):
    done = {"num_tokens": item.num_tokens, "flops": item.planned_flops, "seconds": seconds, "loss": 2.0}
    return ExperimentResult.of(item, status="completed", **done | more)


@pytest.fixture
def costs():
    first, second, third, _, imported = PLAN.experiments
    results = {
        first.experiment_id: result(first, 3.0),
        second.experiment_id: result(second, 5.0, flops=second.planned_flops * 1.01),
        third.experiment_id: failed_result(third, "it broke"),
        "imported": result(imported, 99.0, source="imported"),
    }
    before, now = estimate(PLAN), estimate(PLAN, results=results.values())
    return costs_by_budget(PLAN, results, before, now), results, before, now


def test_budgets_are_the_sums_of_their_trainings(costs):
    (low, high), _, before, now = costs
    first, second, third, fourth, _ = PLAN.experiments
    assert (low.compute_budget, low.planned, low.trained) == (6e9, 2, 2)
    assert low.seconds_done == 8.0 == low.seconds_in_all
    assert low.flops_done == pytest.approx(first.planned_flops + 1.01 * second.planned_flops)
    assert low.seconds_before == pytest.approx(
        before.seconds[first.experiment_id] + before.seconds[second.experiment_id]
    )
    assert (high.planned, high.trained, high.seconds_done) == (2, 0, 0), "imported elsewhere, and one that failed"
    left = now.seconds[third.experiment_id] + now.seconds[fourth.experiment_id]
    assert high.seconds_in_all == pytest.approx(left)
    assert high.flops_planned == pytest.approx(third.planned_flops + fourth.planned_flops)


def test_what_experiments_share_counts_once():
    short, long = PLAN.experiments[0], PLAN.experiments[2]  # of one size
    plan = SweepPlan([short, long], "Model", "width", list(BUDGETS))
    before = dataclasses.replace(estimate(plan), shares={long.experiment_id: 0.75})
    results = {
        short.experiment_id: result(short, 10.0, trunk_tokens=short.num_tokens * 4 // 5),
        long.experiment_id: result(long, 100.0),
    }
    low, high = costs_by_budget(plan, results, before, before)
    assert (low.flops_planned, high.flops_planned) == pytest.approx((short.planned_flops, 0.75 * long.planned_flops))
    assert (low.flops_done, high.flops_done) == pytest.approx((0.2 * short.planned_flops, long.planned_flops))
    assert (low.seconds_done, high.seconds_done) == pytest.approx((2.0, 100.0))
    spent = spending(plan, before, results, Hardware())
    assert spent.done_flops == pytest.approx(low.flops_done + high.flops_done)
    assert spent.done_hours * 3600 == pytest.approx(low.seconds_done + high.seconds_done)
    (figure,) = drawn_costs(plan, results, before, before).values()
    assert "share counts once" in figure.caption


def test_words_have_the_numbers(costs):
    text = costs_text(costs[0])
    assert "took 8.0 s for 2 of 2 trainings" in text
    assert "0 of 2 trainings" in text


def test_it_is_drawn_where_something_was_trained(costs):
    _, results, before, now = costs
    (figure,) = drawn_costs(PLAN, results, before, now).values()
    assert before.basis in figure.caption
    assert any("2 of 2 trained" in said for _, _, said in figure.points)
    assert drawn_costs(PLAN, {"imported": results["imported"]}, before, now) == {}
