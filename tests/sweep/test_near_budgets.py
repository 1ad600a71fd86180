"""Budgets that are nearly equal: today's three identical trainings under three ids are one."""

import warnings

import pytest

from flops_fit import plan_from_counts
from flops_fit.errors import FlopsFitWarning
from flops_fit.sweep.near_budgets import one_of_near


def planned(budgets):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FlopsFitWarning)
        return plan_from_counts((1e6, 1e9), budgets)


@pytest.mark.parametrize("near", ["1.0000001e17", "1.005e17", "0.995e17"])
def test_a_nearly_equal_budget_adds_no_training(near):
    plan = planned(["1e17", near, "1e18"])
    assert plan.experiments == planned(["1e17", "1e18"]).experiments
    assert plan.compute_budgets == [1e17, 1e18]
    assert any("within 1 % of each other; they are planned as one" in note for note in plan.notes)


def test_the_one_that_was_there_first_stays_with_its_ids():
    first = planned(["1.005e17"]).experiments
    assert planned(["1.005e17", "1e17"]).experiments == first


def test_it_is_warned_of():
    with pytest.warns(FlopsFitWarning, match=r"has 1e\+17 and 1\.001e\+17 FLOPs, within 1 % of each other"):
        plan_from_counts((1e6, 1e9), ["1e17", "1.001e17"])


def test_budgets_further_apart_stay_and_repeated_ones_are_said_elsewhere():
    assert one_of_near([1e17, 1.02e17]) == ((1e17, 1.02e17), [])
    assert one_of_near([1e17, 1e17]) == ((1e17, 1e17), [])
    kept, said = one_of_near([1e17, 1.008e17, 1.016e17])
    assert kept == (1e17, 1.016e17), "each is held against what is kept, not against what is dropped"
    assert len(said) == 1
