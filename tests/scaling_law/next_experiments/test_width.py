"""The width at a target: half the interval in logarithms, and the larger of two measured alike."""

from __future__ import annotations

import numpy as np
import pytest

from flops_fit import fit_scaling_law
from flops_fit.scaling_law.next_experiments import target_width
from flops_fit.synthetic import CHINCHILLA, synthetic_runs


@pytest.fixture(scope="module")
def law():
    runs = synthetic_runs(
        CHINCHILLA, compute_budgets=np.geomspace(1e18, 1e20, 5), sizes_per_budget=7, noise=0.002, seed=3
    )
    return fit_scaling_law(runs)


@pytest.mark.parametrize("quantity", ["N_opt", "L_opt"])
def test_the_width_is_half_the_interval_in_logarithms(law, quantity):
    low, high = law.interval(quantity, 1e21)

    assert target_width(law, 1e21, quantity) == pytest.approx(np.log(high / low) / 2)


def test_of_both_the_larger_decides_where_two_percent_of_loss_are_worth_a_factor_of_one_and_a_half(law):
    size, loss = target_width(law, 1e21, "N_opt"), target_width(law, 1e21, "L_opt")

    assert target_width(law, 1e21) == pytest.approx(max(size, loss * np.log(1.5) / np.log(1.02)))
    assert target_width(law, 1e21, "loss") == loss


def test_runs_that_determine_no_law_leave_it_infinite():
    runs = synthetic_runs(CHINCHILLA, compute_budgets=[1e18], sizes_per_budget=7, noise=0.01, seed=0)

    assert target_width(fit_scaling_law(runs), 1e21) == float("inf")
