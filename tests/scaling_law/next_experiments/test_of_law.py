"""What a law suggests: beyond its runs, within the FLOPs, about the optimum; and the line about it in a summary."""

from __future__ import annotations

import numpy as np
import pytest

from flops_fit import fit_scaling_law
from flops_fit.synthetic import CHINCHILLA, synthetic_runs


@pytest.fixture(scope="module")
def sure():
    return fit_scaling_law(synthetic_runs(noise=0.003, span=6.0, seed=3))


@pytest.fixture(scope="module")
def unsure():
    runs = synthetic_runs(
        CHINCHILLA, compute_budgets=(1e18, 3e18, 1e19), sizes_per_budget=5, span=6.0, noise=0.01, seed=3
    )
    return fit_scaling_law(runs)


def test_it_goes_beyond_the_runs_within_the_flops(sure):
    found = [each.candidate for each in sure.next_experiments(5, target=1e22, total_flops=1e21)]

    assert max(each.flops for each in found) > 2 * sure.runs.flops.max()
    assert sum(each.flops for each in found) <= 1e21
    assert all(6 * each.num_params * each.num_tokens == pytest.approx(each.flops) for each in found)


def test_sizes_lie_around_the_optimum(sure):
    found = [each.candidate for each in sure.next_experiments(9, target=1e24, total_flops=1e23)]
    off = [np.log(each.num_params / sure.N_opt(each.flops)) for each in found]

    assert max(np.abs(off)) < np.log(4.1)
    assert min(off) < 0 < max(off)


def test_flops_that_reach_no_further_give_nothing(sure):
    assert sure.next_experiments(5, target=1e22, total_flops=1e17) == ()


def test_an_answer_that_is_not_trustworthy_names_what_to_train(sure, unsure):
    first = unsure.next_experiments(3, target=10 * float(unsure.runs.flops.max()))[0].candidate

    line = next(line for line in unsure.summary().splitlines() if line.startswith("    next"))
    assert f"{first.num_params / 1e6:.0f}M" in line
    assert "    next" not in sure.summary()
