"""Runs that branch from trunks and runs trained on their own: never in one law without a word."""

import dataclasses

import pytest
from trunk_study import GROWING, plan_of, trunk_study

from flops_fit import Recipe, fit_scaling_law, load_runs
from flops_fit.results.finished import already_finished
from flops_fit.results.matching import match_runs
from flops_fit.results.results import ExperimentResult, results_frame

BUDGETS = (2e6, 4e6, 8e6, 1.6e7)


def made(item):
    """A result as a law has it, without training."""
    loss = 1.5 + 8 / item.num_params**0.4 + 12 / item.num_tokens**0.35
    return ExperimentResult.of(
        item, num_tokens=item.num_tokens, flops=item.planned_flops, status="completed", loss=loss
    )


@pytest.fixture(scope="module")
def switched(tmp_path_factory):
    """A folder of results that a study trained before share_trunk was switched on and after; and both plans."""
    after, folder = trunk_study(budgets=BUDGETS), tmp_path_factory.mktemp("runs")
    before = dataclasses.replace(after, training=Recipe(schedule="wsd", **GROWING))
    plans = plan_of(before), plan_of(after)
    for plan in plans:
        for item in plan.experiments:
            made(item).save(folder / item.experiment_id / "result.json")
    return folder, *plans


def test_a_study_that_was_switched_trains_all_anew_and_takes_none_of_the_others(switched):
    folder, before, after = switched
    ids = [{item.experiment_id for item in plan.experiments} for plan in (before, after)]
    assert not ids[0] & ids[1]
    found = already_finished(after.experiments, folder)
    assert found.keys() == ids[1]
    assert all(result.trunk for result in found.values())
    assert not any(result.trunk for result in already_finished(before.experiments, folder).values())


def test_a_folder_that_holds_both_is_warned_of(switched):
    folder, before, after = switched
    law = fit_scaling_law(load_runs(folder), bootstraps=20)
    (said,) = [finding for finding in law.diagnostics if finding.code == "mixed_trunks"]
    count = after.num_experiments
    assert said.severity == "warning"
    assert f"{count} of {count + before.num_experiments} runs branch from trunks" in said.message
    assert "mixed_trunks" in law.summary() or said.message in law.summary()


@pytest.mark.parametrize("kind", [0, 1])
def test_either_alone_is_not(switched, kind):
    folder, *plans = switched
    law = fit_scaling_law(results_frame(already_finished(plans[kind].experiments, folder).values()), bootstraps=20)
    assert "mixed_trunks" not in {finding.code for finding in law.diagnostics}


def test_rows_that_branch_from_trunks_are_no_experiments_of_a_plan_without(switched):
    """A table without ids: sizes and tokens would fit."""
    _, before, _ = switched
    table = results_frame(map(made, before.experiments))[["num_params", "num_tokens", "loss"]]
    assert len(match_runs(before, table)[0]) == before.num_experiments
    table["trunk"] = ["width8-s0"] * 3 + [None] * (len(table) - 3)
    taken, unmatched = match_runs(before, table)
    assert len(taken) == before.num_experiments - 3
    assert [item.row for item in unmatched] == [1, 2, 3]
    assert "trunk = 'width8-s0': it branches from a training that others share" in unmatched[0].reason
    assert "(flops-fit fit)" in unmatched[0].reason
    assert len(match_runs(before, table.assign(trunk=""))[0]) == before.num_experiments
