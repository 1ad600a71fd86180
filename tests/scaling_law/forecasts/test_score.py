"""Scores against runs whose minimum is known without any fit: an exact parabola in ln N."""

import math

import numpy as np
import pandas as pd
import pytest
from made_forecasts import CURVATURE, forecast, target, valley

from flops_fit import fit_scaling_law
from flops_fit.scaling_law.approaches.isoflop import isoflop_minima
from flops_fit.scaling_law.forecasts.score import Score, new_run_at
from flops_fit.scaling_law.forecasts.sealed import Answer
from flops_fit.scaling_law.table.runs import read_runs
from flops_fit.synthetic import CHINCHILLA, synthetic_runs


def only(made, runs):
    (score,) = made.score(runs).scores
    return score


@pytest.mark.parametrize(("factor", "inside"), [(1.0, True), (1.09, True), (1.11, False), (0.92, True), (0.9, False)])
def test_the_minimum_of_the_budgets_own_curve_is_what_n_opt_is_compared_with(factor, inside):
    score = only(forecast(target(N=1e9)), valley(N=factor * 1e9))
    assert score.N_opt.found == pytest.approx(factor * 1e9)
    assert score.N_opt.error == pytest.approx(math.log(factor), abs=1e-9)
    assert score.N_opt.inside is inside
    assert score.regret == pytest.approx(CURVATURE * math.log(factor) ** 2 / 2.5, abs=1e-12)
    assert score.runs == 5


def test_a_minimum_that_is_known_badly_is_judged_with_its_own_error_too():
    """Half widths in logarithms, here ln 1.1 and ln 1.2, add as squares do: to ln 1.228."""
    allowed = math.hypot(math.log(1.1), math.log(1.2))
    for share, within in ((0.99, True), (1.01, False)):
        for side in (1, -1):
            found = math.exp(side * share * allowed)
            score = Score(
                forecast=Answer(value=1.0, low=1 / 1.1, high=1.1), found=found, own=(found / 1.2, found * 1.2)
            )
            assert (score.inside, score.within_both) == (False, within)
    runs = valley(sizes=7)
    noisy = runs.assign(loss=runs["loss"] * np.array([1.002, 0.998, 1, 1.002, 1, 0.998, 1.002]))
    own = {level: only(forecast(level=level), noisy).N_opt for level in (0.9, 0.5)}
    (minimum,) = isoflop_minima(read_runs(noisy))
    assert own[0.9].own == pytest.approx(minimum.interval)
    ratio = math.log(own[0.5].own[1] / minimum.N) / math.log(minimum.interval[1] / minimum.N)
    assert ratio == pytest.approx(0.6745 / 1.6449, rel=1e-3), "quantiles of the normal distribution"


@pytest.mark.parametrize(("loss", "inside"), [(2.5, True), (2.524, True), (2.526, False), (2.474, False)])
def test_its_loss_is_what_the_loss_is_compared_with(loss, inside):
    score = only(forecast(target(loss=2.5)), valley(loss=loss))
    assert score.L_opt.error == pytest.approx(math.log(loss / 2.5), abs=1e-9)
    assert score.L_opt.inside is inside


def test_a_curve_without_a_minimum_inside_leaves_the_run_alone():
    runs = valley(N=1e9)
    score = only(forecast(), runs[runs["num_params"] > 1e9 * 0.99])
    assert (score.N_opt, score.L_opt, score.regret) == (None, None, None)
    assert "the minimum lies at or below the smallest model" in score.reason
    assert score.new_run is not None


@pytest.mark.parametrize("size", [0.13, 0.4, 0.77, 1.0, 3.3, 7.9])
@pytest.mark.parametrize("more", [0.97, 1.0, 1.04])
def test_a_single_run_is_compared_with_the_loss_forecast_for_its_own_size_and_tokens(size, more):
    """The curve is kept at nine sizes on the budget alone; in between, and for other tokens by a few per cent, it is
    exact to a small part of any interval."""
    N = size * 1e9
    D = more * 1e21 / (6 * N)
    truth = float(CHINCHILLA.loss(N, D))
    run = pd.DataFrame({"num_params": [N], "num_tokens": [D], "flops": [more * 1e21], "loss": [1.009 * truth]})
    score = only(forecast(target(N=1e9, level=0.01)), run)
    assert score.new_run.forecast.value == pytest.approx(truth, rel=5e-5)
    assert score.new_run.error == pytest.approx(math.log(1.009), abs=5e-5)
    assert score.new_run.inside
    assert not only(forecast(target(N=1e9, level=0.01)), run.assign(loss=1.011 * truth)).new_run.inside
    assert score.size == N
    assert score.reason == "fewer than 3 sizes at this compute"


def test_a_run_beyond_the_sizes_of_the_forecast_is_not_judged():
    assert new_run_at(target(N=1e9), 9e9, 1e10) is None
    run = pd.DataFrame({"num_params": [9e9], "num_tokens": [1e21 / 54e9], "flops": [1e21], "loss": [2.5]})
    score = only(forecast(target(N=1e9)), run)
    assert score.new_run is None
    assert not score.scored


def test_the_forecast_goes_along_its_own_power_laws_to_the_flops_that_were_spent():
    more, N = 1.04, CHINCHILLA.N_opt(1.04e21)
    loss = float(CHINCHILLA.loss(N, CHINCHILLA.D_opt(1.04e21)))
    at = float(CHINCHILLA.N_opt(1e21))
    made = forecast(target(N=at, loss=float(CHINCHILLA.loss(at, CHINCHILLA.D_opt(1e21)))))
    score = only(made, valley(N=N, loss=loss, compute=more * 1e21))
    assert score.N_opt.error == pytest.approx(0, abs=1e-6)
    assert score.L_opt.error == pytest.approx(0, abs=2e-5)


def test_a_budget_is_found_by_its_name_too():
    """Public tables spend 0.74 to 1.07 of what the budget is called."""
    runs = valley(compute=0.8e21).assign(compute_budget=1e21)
    assert only(forecast(), runs).runs == 5
    assert only(forecast(), runs.assign(compute_budget=0.8e21)).reason == "no runs yet"


def test_of_two_budgets_the_nearer_one_counts():
    runs = pd.concat([valley(N=2e9, compute=1.03e21), valley(N=1e9, compute=1e21)])
    assert only(forecast(), runs).N_opt.found == pytest.approx(1e9)


def test_runs_at_other_budgets_do_not_count():
    waiting = only(forecast(), valley(compute=1.2e21))
    assert not waiting.scored
    assert (waiting.runs, waiting.reason) == (0, "no runs yet")


def test_a_run_that_diverged_is_not_compared():
    runs = pd.concat([synthetic_runs(noise=0.001), valley(N=1e9)])
    worse = runs.assign(loss=np.where(runs["num_params"] == runs["num_params"].iloc[-1], 11.0, runs["loss"]))
    assert only(forecast(), worse).runs == 4


def test_runs_of_something_else_are_not_taken_for_ours(tmp_path):
    ours, others = (synthetic_runs(noise=0.003, seed=seed) for seed in (1, 2))
    made = fit_scaling_law(ours, bootstraps=20).forecast([1e21])
    later = valley(N=2.7e9)
    ours.to_csv(tmp_path / "runs.csv", index=False)  # with the last digits that a file keeps
    for runs in (later, pd.concat([ours, later]), pd.concat([pd.read_csv(tmp_path / "runs.csv")[20:], later])):
        assert only(made, runs).scored
    foreign = only(made, pd.concat([others, later]))
    assert not foreign.scored
    assert foreign.reason == "made from none of the 35 runs that are here up to 1.00e+20 FLOPs"


def test_of_several_seeds_the_first_is_the_run():
    runs = pd.concat([valley(), valley().assign(loss=3.0)])
    assert only(forecast(), runs).new_run.found < 2.6
