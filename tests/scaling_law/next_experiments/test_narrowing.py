"""Where no bend shows: the experiments that narrow the answer most per FLOP, against the law's own information."""

import numpy as np
import pytest

from flops_fit import fit_scaling_law
from flops_fit.scaling_law.next_experiments import Candidate, next_experiments
from flops_fit.scaling_law.next_experiments.candidate import points_of
from flops_fit.scaling_law.next_experiments.expected import outlook
from flops_fit.scaling_law.next_experiments.narrowing import REACH, looks_straight
from flops_fit.synthetic import REPLICATION, synthetic_runs

TARGET = 1e21


def runs(**options):
    return synthetic_runs(**{"noise": 0.003, "seed": 4, "compute_budgets": np.geomspace(1e18, 1e20, 4)} | options)


def candidates():
    sizes = np.exp(np.linspace(-np.log(20), np.log(20), 9))
    pairs = [(REPLICATION.N_opt(C) * size, C) for C in (3e18, 1e19, 3e19) for size in sizes]
    return [Candidate(num_params=N, num_tokens=C / 6 / N, flops=C, label=str(at)) for at, (N, C) in enumerate(pairs)]


def information(table):
    """Fisher information of (ln E, ln A, ln B, alpha, beta) in runs, and the slope of ln N_opt at the target."""
    N, D = table.T
    A, B = REPLICATION.A * N**-REPLICATION.alpha, REPLICATION.B * D**-REPLICATION.beta
    loss = REPLICATION.E + A + B
    J = np.stack([REPLICATION.E / loss, A / loss, B / loss, -A * np.log(N) / loss, -B * np.log(D) / loss], axis=1)
    return J.T @ J / 0.003**2


def variance(table):
    """Of ln N_opt at the target, to first order (Hoffmann et al. 2022, equation 4)."""
    alpha, beta, A, B = REPLICATION.alpha, REPLICATION.beta, REPLICATION.A, REPLICATION.B
    total, log_C = alpha + beta, np.log(TARGET / 6)
    log_G = np.log(alpha * A / (beta * B)) / total
    slope = np.array([
        0.0, 1 / total, -1 / total,
        1 / alpha / total - log_G / total - beta * log_C / total**2,
        -1 / beta / total - log_G / total + log_C / total - beta * log_C / total**2,
    ])  # fmt: skip
    return float(slope @ np.linalg.solve(information(table), slope))


def chosen(law, n=4, **options):
    settings = {"target": TARGET, "quantity": "N_opt", "law": law, "flops_left": 1e21, "more_follow": True}
    return next_experiments(law.runs.to_frame(), candidates(), n, **(settings | options))


def test_what_is_chosen_teaches_more_per_flop_than_most_would():
    law = fit_scaling_law(runs(), bootstraps=300)
    table = np.column_stack([law.runs.num_params, law.runs.num_tokens])
    before = variance(table)

    def worth(each):
        run = np.array([[each.num_params, each.num_tokens]])
        return (before - variance(np.vstack([table, run]))) / each.flops

    within = [each for each in candidates() if abs(np.log(each.num_params / law.N_opt(each.flops))) <= REACH]
    first = chosen(law)[0].candidate
    assert worth(first) >= np.quantile([worth(each) for each in within], 0.7)  # 28 runs' resamples are no better


def test_corners_are_out_of_reach_and_flops_are_kept_to():
    law = fit_scaling_law(runs(), bootstraps=100)
    found = chosen(law, n=40, flops_left=2e19)
    assert sum(each.candidate.flops for each in found) <= 2e19
    assert len({each.candidate.label for each in found}) == len(found)
    assert all(abs(np.log(each.candidate.num_params / law.N_opt(each.candidate.flops))) <= REACH for each in found)


def test_a_choice_for_once_and_runs_that_bend_are_rungs_of_the_ladder():
    straight = fit_scaling_law(runs(), bootstraps=100)
    assert looks_straight(straight)
    once = chosen(straight, more_follow=False)
    assert [each.candidate for each in once] != [each.candidate for each in chosen(straight)]
    bent = fit_scaling_law(
        runs(transform=lambda N, D, loss: loss + 0.02 * np.log10(6 * N * D / 1e18) ** 2), bootstraps=100
    )
    assert not looks_straight(bent)
    assert [each.candidate for each in chosen(bent)] == [each.candidate for each in chosen(bent, more_follow=False)]


def test_the_ladder_is_climbed_before_anything_is_narrowed():
    """A bend may show only at the top: 1e21 FLOPs reach 3e19, where `low` has no run; 1e19 reach no further up."""
    low = fit_scaling_law(runs(compute_budgets=np.geomspace(1e18, 6e18, 4)), bootstraps=100)
    assert looks_straight(low)
    assert [each.candidate for each in chosen(low)] == [each.candidate for each in chosen(low, more_follow=False)]
    assert chosen(low)[0].candidate.flops > 6e18
    cheap = chosen(low, flops_left=4e18)
    assert [each.candidate for each in cheap] != [
        each.candidate for each in chosen(low, flops_left=4e18, more_follow=False)
    ]


def test_few_runs_are_not_believed():
    few = runs(compute_budgets=[1e18, 1e19], sizes_per_budget=5)
    assert not looks_straight(fit_scaling_law(few, bootstraps=50))
    assert not looks_straight(None)


def test_the_fall_holds_what_a_higher_top_says_of_the_misfit():
    narrow = fit_scaling_law(runs(compute_budgets=np.geomspace(1e18, 6e18, 4)), bootstraps=100)
    places = points_of([
        Candidate(num_params=REPLICATION.N_opt(C), num_tokens=C / 6 / REPLICATION.N_opt(C), flops=C, label="")
        for C in (3e18, 6e19)
    ])  # fmt: skip
    view = outlook(narrow, TARGET, places)
    low, high = view.falls(np.array([0, 1]))
    assert (high > low + 0.3).all()  # over 1.8 decades instead of 0.8 a bend would show: (10^1 / 60)^6 is left unseen
    after = view.after(1).widths()
    assert all(after[name] < width for name, width in view.widths().items())
    assert view.widths()["N_opt"] == pytest.approx(view.now[0][0])
