"""What a checked rate means for the law: drifting, off, right, or not to be told."""

import dataclasses
import math
import re

import pytest

from flops_fit.rate_check.findings import TOLERATED, findings_of
from flops_fit.rate_check.rate_check import CheckedBudget, RateCheck
from flops_fit.rate_check.shown import HEADERS, check_rows
from flops_fit.scaling_law.checks.verdict import verdict

BUDGETS = (1e9, 3e9, 1e10, 3e10)


def checked(compute, u, h=0.1, noise=0.001, rate=0.01):
    """A budget whose best rate is exp(u) times the one used."""
    losses = tuple(3 * math.exp(0.5 * h * (step - u) ** 2) for step in (-math.log(2), 0.0, math.log(2)))
    return CheckedBudget(
        compute_budget=compute,
        num_params=1000,
        num_tokens=10_000,
        rates=(rate / 2, rate, 2 * rate),
        losses=losses,
        states=("completed",) * 3,
        noise=noise,
    )


def finding(*budgets, largest=3e10):
    (found,) = findings_of(RateCheck(budgets=budgets, largest=largest), "tune it")
    return found


def test_a_rate_at_its_optimum_is_said_to_be_right():
    found = finding(*(checked(compute, 0.05) for compute in BUDGETS))
    assert (found.code, found.severity) == ("learning_rate_checked", "info")
    assert verdict([found], "loss", 0.001) == "trustworthy"


def test_a_rate_that_drifts_bends_the_law():
    found = finding(*(checked(compute, 0.2 * at) for at, compute in enumerate(BUDGETS)))
    assert (found.code, found.severity, found.remedy) == ("learning_rate_drifts", "warning", "tune it")
    assert "at 3.00e+10 FLOPs the best is 1.8" in found.message
    assert verdict([found], "N_opt", 0.1) == "provisional"


def test_what_drifts_by_more_than_the_loss_may_be_off_is_an_error():
    found = finding(*(checked(compute, 0.3 * at) for at, compute in enumerate(BUDGETS)))
    assert (found.code, found.severity) == ("learning_rate_drifts", "error")
    assert verdict([found], "loss", 0.001) == "not supported"


def test_a_drift_below_the_largest_budget_is_carried_on_to_it():
    found = finding(*(checked(compute, 0.25 * at) for at, compute in enumerate(BUDGETS[:3])))
    assert found.code == "learning_rate_drifts"
    low, high = re.search(r"at 3.00e\+10 FLOPs the best is .* \((.*) to (.*)\) times", found.message).groups()
    assert float(low) < math.exp(0.75) < float(high)
    (*_, last) = check_rows(RateCheck(budgets=(checked(1e9, 0.0), checked(1e10, 0.5)), largest=3e10))
    assert last[0] == "3.00e+10, carried on"
    assert len(last) == len(HEADERS)


def test_a_rate_that_is_off_alike_everywhere_is_off_and_does_not_drift():
    found = finding(*(checked(compute, 0.6) for compute in BUDGETS))
    assert (found.code, found.severity) == ("learning_rate_off", "warning")
    assert TOLERATED < 0.5 * 0.1 * 0.6**2


def test_where_trainings_are_noisy_it_cannot_be_told():
    found = finding(*(checked(compute, 0.5, h=0.02, noise=0.02) for compute in BUDGETS))
    assert (found.code, found.severity) == ("learning_rate_unclear", "info")
    assert "cannot be told" in found.message
    assert "check_learning_rate = [1e+09, 3e+09, 1e+10, 3e+10] in [sweep]" in found.remedy


def test_noise_alone_is_no_drift():
    """Losses that scatter as noise does about a rate that is right: hardly ever more than information."""
    import numpy as np

    random, warned = np.random.default_rng(7), 0
    for _ in range(60):
        budgets = []
        for compute in BUDGETS[:3]:
            one = checked(compute, 0.0, h=0.05, noise=0.004)
            noisy = tuple(loss * math.exp(0.004 * random.standard_normal()) for loss in one.losses)
            budgets.append(dataclasses.replace(one, losses=noisy))
        warned += finding(*budgets).severity != "info"
    assert warned <= 6


@pytest.mark.parametrize("states", [("completed", "failed", "completed"), ("not trained", "completed", "failed")])
def test_what_has_no_loss_to_compare_is_not_judged(states):
    one = checked(1e9, 0.0)
    losses = tuple(loss if state == "completed" else None for loss, state in zip(one.losses, states, strict=True))
    lost = dataclasses.replace(one, losses=losses, states=states)
    found = finding(lost)
    assert found.code == "learning_rate_unclear"
    (row,) = check_rows(RateCheck(budgets=(lost,), largest=3e10))
    assert row[-1] == "cannot be told"
    said = [f"{loss:.4f}" if loss else state for loss, state in zip(losses, states, strict=True)]
    assert row[3] == ", ".join(said)
    with_others = finding(lost, checked(3e10, 0.0), largest=3e10)
    assert with_others.code == "learning_rate_checked"
