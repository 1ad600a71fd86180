"""Which experiments are chosen: never one twice, never beyond the FLOPs, from cheap ones about the prior upwards."""

from __future__ import annotations

import numpy as np
import pytest

from flops_fit import fit_scaling_law
from flops_fit.errors import FitError
from flops_fit.scaling_law.next_experiments import Candidate, next_experiments, target_width
from flops_fit.synthetic import CHINCHILLA, synthetic_runs

BUDGETS = np.geomspace(1e17, 1e20, 7)
POOL = synthetic_runs(CHINCHILLA, compute_budgets=BUDGETS, sizes_per_budget=9, span=30, noise=0.003, seed=1)
CANDIDATES = [
    Candidate(num_params=row.num_params, num_tokens=row.num_tokens, flops=row.flops, label=str(index))
    for index, row in POOL.iterrows()
]


def rows_of(suggestions):
    return [int(each.candidate.label) for each in suggestions]


def test_before_any_run_the_cheapest_budget_is_tried_about_the_tokens_per_parameter_given():
    found = next_experiments([], CANDIDATES, 3, target=1e22, tokens_per_param=20)

    assert {each.candidate.flops for each in found} == {BUDGETS[0]}
    ratio = sorted(each.candidate.num_tokens / each.candidate.num_params for each in found)
    assert ratio[0] < 7 < ratio[1] < 60 < ratio[2]
    assert (found[0].width_before, found[0].width_after) == (None, None)


def test_runs_and_plans_are_not_chosen_again_and_the_flops_are_kept_to():
    runs = POOL.iloc[:27]
    planned = CANDIDATES[27:36]

    found = next_experiments(runs, CANDIDATES, 100, target=1e22, planned=planned, flops_left=5e19)

    assert len(set(rows_of(found))) == len(found)
    assert min(rows_of(found)) >= 36
    assert {each.candidate.flops for each in found} == {BUDGETS[4], BUDGETS[5]}  # 1e20 cannot be paid for
    assert sum(each.candidate.flops for each in found) <= 5e19


def test_a_failed_run_is_not_chosen_again():
    failed = POOL.assign(loss=np.nan, status="failed")

    assert next_experiments(failed, CANDIDATES, 3, target=1e22) == ()


def test_with_a_law_each_suggestion_says_how_the_width_falls():
    runs = POOL.iloc[:27]
    law = fit_scaling_law(runs)

    found = next_experiments(runs, CANDIDATES, 4, target=1e22, law=law)

    assert found[0].width_before == pytest.approx(target_width(law, 1e22))
    assert all(each.width_after < each.width_before for each in found)
    assert [each.width_before for each in found[1:]] == [each.width_after for each in found[:-1]]


def test_the_same_runs_give_the_same_choice():
    runs = POOL.iloc[:27]

    assert next_experiments(runs, CANDIDATES, 5, target=1e22) == next_experiments(runs, CANDIDATES, 5, target=1e22)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"n": 0}, "n = 0 must be a whole number"),
        ({"target": -1.0}, "target = -1.0 must be"),
        ({"quantity": "width"}, "quantity = 'width' must be one of"),
        ({"flops_left": -1.0}, "flops_left = -1.0 must be"),
    ],
)
def test_values_outside_their_limits_are_refused(given, said):
    arguments = {"n": 1, "target": 1e22} | given

    with pytest.raises(FitError, match=said):
        next_experiments([], CANDIDATES, **arguments)


def test_a_ladder_that_lacks_nothing_is_filled_up_about_the_optimum():
    runs = POOL[POOL["flops"] > 0.9e17]  # all nine sizes of every budget but the two largest
    runs = runs[runs["flops"] < 2e19]
    rest = [each for each in CANDIDATES if each.flops < 2e19]
    nearest = [each for index, each in enumerate(rest) if index % 9 == 4]
    untrained = runs.drop(index=[int(each.label) for each in nearest])

    found = next_experiments(untrained, rest, 9, target=1e22, flops_left=2.5e19)

    assert found[0].candidate == nearest[-1]
    assert sum(each.candidate.flops for each in found) <= 2.5e19
