"""Synthetic studies are what they say."""

import numpy as np
import pytest

from flops_fit.errors import FitError
from flops_fit.synthetic import CHINCHILLA, DATA_HEAVY, REPLICATION, synthetic_runs


def test_noise_free_runs_follow_the_law_and_their_budgets():
    runs = synthetic_runs(CHINCHILLA)
    N, D = runs["num_params"].to_numpy(), runs["num_tokens"].to_numpy()
    np.testing.assert_allclose(runs["loss"], 1.6934 + 406.4 / N**0.3392 + 410.7 / D**0.2849)
    np.testing.assert_allclose(6 * N * D, runs["compute_budget"])
    assert len(runs) == 35


@pytest.mark.parametrize("law", [CHINCHILLA, REPLICATION, DATA_HEAVY])
def test_the_known_optimum_is_the_lowest_point_of_its_budget(law):
    N = np.geomspace(1e6, 1e13, 300_001)
    losses = law.loss(N, 1e22 / (6 * N))
    assert float(law.N_opt(1e22)) == pytest.approx(N[losses.argmin()], rel=1e-3)


@pytest.mark.parametrize(("kind", "share"), [("gaussian", 0.0), ("t3", 0.03), ("outliers", 0.03)])
def test_noise_has_its_scale_and_its_tails(kind, share):
    runs = synthetic_runs(noise=0.01, noise_kind=kind, sizes_per_budget=2000, seed=5)
    clean = REPLICATION.loss(runs["num_params"].to_numpy(), runs["num_tokens"].to_numpy())
    size = np.abs(np.log(runs["loss"] / clean)) / 0.01
    assert 1.4826 * np.median(size) == pytest.approx(1.0, abs=0.2)
    assert (size > 4.5).mean() >= share * 0.5


def test_broken_runs_diverge_are_nan_or_luckily_low():
    runs, good = synthetic_runs(broken_fraction=0.2, seed=1), synthetic_runs(seed=1)
    assert (runs["status"] == "diverged").sum() == 3
    assert runs["loss"].isna().sum() == 5
    assert (runs["loss"] < 0.96 * good["loss"]).sum() == 2


def test_the_same_seed_gives_the_same_runs_and_unknown_noise_is_refused():
    assert synthetic_runs(noise=0.01, seed=4).equals(synthetic_runs(noise=0.01, seed=4))
    with pytest.raises(FitError, match="pink"):
        synthetic_runs(noise=0.01, noise_kind="pink")
