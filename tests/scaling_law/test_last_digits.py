"""What a law says does not depend on the last digits of its runs, and so not on the processor."""

import numpy as np
import pytest
from bent_studies import bent_runs

from flops_fit.scaling_law import fit_scaling_law
from flops_fit.synthetic import CHINCHILLA, REPLICATION, synthetic_runs


def one_token_ratio():
    N = np.geomspace(1e7, 1e9, 20)
    losses = REPLICATION.loss(N, 20 * N)
    return synthetic_runs().head(20).assign(num_params=N, num_tokens=20 * N, flops=120 * N**2, loss=losses)


def without_irreducible_loss():
    return synthetic_runs(noise=0.05, span=2.0, compute_budgets=(1e18, 2e18, 1.2e19), seed=3)


def evenly_spaced_in_compute():
    """No budgets are given, and every gap in compute is as good as the next to cut at."""
    return synthetic_runs(noise=0.003, compute_budgets=np.geomspace(1e18, 1e20, 25)).drop(columns="compute_budget")


def equal_lowest_losses():
    runs = synthetic_runs(noise=0.003, seed=1)
    return runs.assign(loss=runs["loss"].round(1))


STUDIES = {
    "clean": lambda: synthetic_runs(noise=0.003, seeds=2, seed=1),
    "noise-free": lambda: synthetic_runs(CHINCHILLA),
    "copies": lambda: synthetic_runs(noise=0.003, broken_fraction=0.1).sample(50, replace=True, random_state=0),
    "one budget": lambda: synthetic_runs(noise=0.002, compute_budgets=(1e18,)),
    "constant": lambda: synthetic_runs().assign(loss=2.0),
    "no exponent of D": lambda: synthetic_runs().assign(loss=lambda t: 2.0 + 400 / t["num_params"] ** 0.34),
    "follows no law": lambda: synthetic_runs().assign(loss=2 + 0.1 * np.sin(np.arange(35))),
    "one token ratio": one_token_ratio,
    "without E": without_irreducible_loss,
    "even in compute": evenly_spaced_in_compute,
    "equal losses": equal_lowest_losses,
    "bent": lambda: bent_runs(noise=0.002, seed=3),
}


def said(runs):
    law = fit_scaling_law(runs, bootstraps=40)
    return law.summary([1e21]), law.chinchilla_table(), law.diagnostics, law.verdict


# A fit to what follows no law takes as long as all the others together.
@pytest.mark.parametrize(
    "study", [pytest.param(name, marks=[pytest.mark.slow] * (name == "follows no law")) for name in STUDIES]
)
def test_runs_that_differ_by_rounding_give_a_law_that_says_the_same(study):
    runs = STUDIES[study]()
    generator = np.random.default_rng(5)
    numbers = runs[["num_params", "num_tokens", "flops", "loss"]].astype(float)
    perturbed = numbers * (1 + 1e-14 * generator.standard_normal(numbers.shape))
    assert said(runs.assign(**perturbed)) == said(runs)
