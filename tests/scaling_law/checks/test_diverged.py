"""Runs that diverged without a word are found, left out with the reason, and finished ones are not."""

import numpy as np
import pytest

from flops_fit.scaling_law import fit_scaling_law
from flops_fit.scaling_law.checks.diverged import above_others, diverged, without_diverged
from flops_fit.scaling_law.table.runs import read_runs
from flops_fit.synthetic import CHINCHILLA, synthetic_runs

PLATEAU = np.log(50_257)  # of a model that knows nothing of its 50,257 tokens


def with_diverged(rows, seed=0):
    runs = synthetic_runs(CHINCHILLA, noise=0.003, span=6.0, seed=seed)
    loss = runs["loss"].to_numpy().copy()
    loss[list(rows)] = PLATEAU
    return runs.assign(loss=loss)


def test_a_run_above_smaller_models_of_fewer_tokens_is_above_what_they_leave_it():
    runs = read_runs(
        [{"num_params": N, "num_tokens": D, "loss": loss} for N, D, loss in ((1e7, 1e9, 3.0), (2e7, 2e9, 6.0))]
    )
    np.testing.assert_allclose(above_others(runs), [-np.log(4), np.log(2)])  # 3 / (6·√2·√2), and 6 / 3


@pytest.mark.parametrize(("rows", "seed"), [([6, 13, 17, 24, 25, 28], 41), ([0, 16, 22, 24, 26, 31], 55)])
def test_at_the_edges_of_the_cheapest_budgets_too(rows, seed):
    """No smaller model has seen fewer tokens there, and a law bends to the runs: their neighbours tell."""
    centres = np.exp(np.random.default_rng(10_000 + seed).normal(0, 0.3, 5))
    runs = synthetic_runs(CHINCHILLA, noise=0.003, span=6.0, seed=seed, off_centre=centres)
    runs.loc[rows, "loss"] = PLATEAU
    read = read_runs(runs)
    assert sorted(read.row[[*diverged(read)]]) == rows


@pytest.mark.parametrize("seed", range(4))
def test_six_diverged_runs_of_35_are_left_out_and_named_and_move_nothing(seed):
    rows = np.sort(np.random.default_rng(seed).choice(35, 6, replace=False))
    law = fit_scaling_law(with_diverged(rows, seed), bootstraps=20)
    assert [item.row for item in law.runs.excluded] == rows.tolist()
    assert all("taken for diverged: its loss 10.82 is" in item.reason for item in law.runs.excluded)
    assert "6 excluded" in law.summary()
    assert "taken for diverged" in law.summary()
    assert law.N_opt(1e22) == pytest.approx(float(CHINCHILLA.N_opt(1e22)), rel=0.25)


def test_rows_are_those_of_the_table_where_others_are_excluded_too():
    runs = with_diverged([6, 20])
    runs.loc[[2, 10], "loss"] = np.nan
    excluded = without_diverged(read_runs(runs)).excluded
    assert [item.row for item in excluded] == [2, 6, 10, 20]
    assert [item.experiment_id for item in excluded] == [f"synthetic-{row:04d}" for row in (2, 6, 10, 20)]


def test_finished_runs_and_repeated_data_are_kept():
    assert diverged(read_runs(synthetic_runs(noise=0.05, noise_kind="t3", span=20.0, seed=1))) == {}
    repeated = with_diverged([34]).assign(epochs=1.0)
    repeated.loc[34, "epochs"] = 8.0
    assert diverged(read_runs(repeated)) == {}


def test_a_published_objective_is_that_of_all_runs():
    assert len(fit_scaling_law(with_diverged([3]), delta=1e-3, bootstraps=5).runs) == 35
