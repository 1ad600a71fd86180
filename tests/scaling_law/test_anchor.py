"""Laws moved onto the runs at the largest compute."""

from dataclasses import replace

import numpy as np
import pytest

from flops_fit.scaling_law.anchor import Move, anchor
from flops_fit.scaling_law.flops_per_token import FlopsPerToken
from flops_fit.scaling_law.mixture import as_members, mixed_loss, mixed_optimum
from flops_fit.scaling_law.table.runs import read_runs
from flops_fit.synthetic import REPLICATION, synthetic_runs

LAW = np.array([REPLICATION.E, REPLICATION.A, REPLICATION.B, REPLICATION.alpha, REPLICATION.beta])
TOP = 1e20
G, S = 0.008, -0.12  # of ln L and ln N, by which the runs of the largest budget are off LAW


def runs(noise=0.0, seed=0, sizes=7, worst=None):
    """Runs of LAW; those at TOP are of LAW moved by G and S."""
    table = synthetic_runs(REPLICATION, compute_budgets=(1e19, TOP), sizes_per_budget=sizes, span=3.0)
    N, D, at_top = table["num_params"], table["num_tokens"], table["flops"] > TOP / 2
    of_top = np.exp(G) * REPLICATION.loss(N * np.exp(-S), D * np.exp(S))
    loss = np.where(at_top, of_top, table["loss"])
    loss = loss * np.exp(np.random.default_rng(seed).normal(0, noise, len(table)))
    if worst is not None:
        loss[np.flatnonzero(at_top)[worst]] *= 1.5
    return read_runs(table.assign(loss=loss))


def test_with_another_E_a_law_keeps_its_loss_at_the_pivot_and_all_optima():
    move = Move(log_E=-0.05, pivot=(3e8, 6e9))
    moved = move(as_members(LAW))
    assert moved[0, 0] == pytest.approx(LAW[0] * np.exp(-0.05), rel=1e-12)
    assert mixed_loss(moved, 3e8, 6e9) == pytest.approx(REPLICATION.loss(3e8, 6e9), rel=1e-12)
    for C in (1e19, 1e23):
        assert mixed_optimum(moved, C, FlopsPerToken()) == pytest.approx(REPLICATION.N_opt(C), rel=1e-9)
    N, D = 2e10, 4e11
    rest = (REPLICATION.loss(3e8, 6e9) - moved[0, 0]) / (REPLICATION.loss(3e8, 6e9) - LAW[0])
    far = moved[0, 0] + rest * (REPLICATION.loss(N, D) - LAW[0])
    assert mixed_loss(moved, N, D) == pytest.approx(far, rel=1e-12)
    assert move.on_loss(moved, N, D) == pytest.approx(np.log(far / REPLICATION.loss(N, D)), rel=1e-9)


def test_an_E_that_is_too_high_is_lowered():
    """Runs of a law whose E is 4 % lower, with the same loss at the top, and next to no noise."""
    table = runs()
    lower = Move(log_E=-0.04, pivot=(REPLICATION.N_opt(TOP), TOP / 6 / REPLICATION.N_opt(TOP)))(as_members(LAW))
    table = replace(table, loss=mixed_loss(lower, table.num_params, table.num_tokens))
    found = anchor(as_members(LAW), table, TOP, FlopsPerToken(), scale=3e-4)
    assert found.move.log_E == pytest.approx(-0.04, rel=0.2)  # the prior's share
    N = REPLICATION.N_opt(1e22)
    truth, before, after = (float(mixed_loss(m, N, 1e22 / 6 / N)) for m in (lower, as_members(LAW), found.members))
    assert abs(after - truth) < abs(before - truth) / 4


def test_a_moved_law_is_the_law_at_other_sizes():
    N, D = np.array([1e8, 1e9]), np.array([3e9, 2e10])
    E, A, B, alpha, beta, _ = Move(log_loss=G, log_size=S)(as_members(LAW)[0]).T
    expected = np.exp(G) * REPLICATION.loss(N * np.exp(-S), D * np.exp(S))
    np.testing.assert_allclose(E + A / N**alpha + B / D**beta, expected, rtol=1e-12)


@pytest.mark.parametrize("per_token", [FlopsPerToken(), FlopsPerToken(c=6.3)])
def test_with_little_noise_the_runs_of_the_largest_budget_decide(per_token):
    found = anchor(as_members(LAW), runs(), TOP, per_token, scale=1e-3)
    assert found.move.log_loss == pytest.approx(G, rel=0.03)
    assert found.move.log_size == pytest.approx(S, rel=0.1)  # the prior's share
    own = mixed_optimum(as_members(LAW), TOP, per_token)
    assert mixed_optimum(found.members, TOP, per_token) == pytest.approx(own * np.exp(found.move.log_size), rel=1e-9)


def test_runs_that_scatter_more_than_they_are_off_move_little():
    still = anchor(as_members(LAW), runs(), TOP, FlopsPerToken(), scale=0.2)
    assert 0 < still.move.log_loss < G / 4
    assert S / 4 < still.move.log_size < 0


def test_one_run_that_went_wrong_moves_the_law_no_further_than_its_cut():
    well, ill = (anchor(as_members(LAW), runs(worst=w), TOP, FlopsPerToken(), scale=0.002) for w in (None, 3))
    assert abs(ill.move.log_loss - well.move.log_loss) < 3 * 0.002 / 7 * 2
    assert abs(ill.move.log_size - well.move.log_size) < 0.05


@pytest.mark.slow
def test_draws_scatter_as_studies_do_that_are_made_anew():
    """2,000 draws of one study against 400 studies with noise of 0.5 %."""
    noise, law = 0.005, as_members(LAW)
    studies = [anchor(law, runs(noise, seed), TOP, FlopsPerToken(), noise) for seed in range(400)]
    first = studies[0]
    draws = first.draws(np.repeat(law[None], 2000, axis=0), law, runs(noise, 0), seed=1)
    N = REPLICATION.N_opt(1e22)
    D = 1e22 / 6 / N
    per_token = FlopsPerToken()
    of_studies = np.array([(each.members[0, 0], mixed_loss(each.members, N, D)) for each in studies])
    of_draws = np.column_stack([draws[:, 0, 0], mixed_loss(draws, N, D)])
    np.testing.assert_allclose(np.log(of_draws).std(axis=0), np.log(of_studies).std(axis=0), rtol=0.12)
    sizes = [
        np.log(mixed_optimum(each, 1e22, per_token)).std() for each in (draws, np.array([s.members for s in studies]))
    ]
    assert sizes[0] == pytest.approx(sizes[1], rel=0.12)
    own = np.log([first.members[0, 0], float(mixed_loss(first.members, N, D))])
    np.testing.assert_allclose(np.log(of_draws).mean(axis=0), own, atol=0.1 * np.log(of_studies).std(axis=0).max())


def test_draws_follow_refits_that_stray_back_to_the_runs():
    """A refit whose losses are 1 % too high is moved down by as much, but for the prior."""
    law, table = as_members(LAW), runs()
    found = anchor(law, table, TOP, FlopsPerToken(), scale=1e-4)
    high = Move(log_loss=0.01)(law)
    draws = found.draws(np.stack([law, high]), law, table, seed=0)
    np.testing.assert_allclose(draws[0, 0, 0], draws[1, 0, 0], rtol=5e-4)


def test_where_E_is_known_the_rest_of_the_loss_is_moved_and_E_stays():
    law, table = as_members(LAW), runs()
    found = anchor(law, table, TOP, FlopsPerToken(), scale=1e-3, keeps_E=True)
    assert found.members[0, 0] == LAW[0]
    N = REPLICATION.N_opt(TOP)
    before, after = (float(mixed_loss(each, N, TOP / 6 / N)) for each in (law, found.members))
    truth = np.exp(G) * REPLICATION.loss(N * np.exp(-S), TOP / 6 / N * np.exp(S))
    assert abs(np.log(after / truth)) < abs(np.log(before / truth)) / 20
    in_size = Move(log_size=found.move.log_size)
    of_size = float(mixed_loss(in_size(law), N, TOP / 6 / N))
    assert found.move.on_loss(found.members, N, TOP / 6 / N) == pytest.approx(np.log(after / of_size), rel=0.02)
    assert Move(log_loss=G).on_loss(found.members, N, TOP / 6 / N) == G
