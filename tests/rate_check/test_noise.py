"""How much a training scatters, as the runs of a law tell it."""

import numpy as np
import pytest
from bent_studies import bent_runs

from flops_fit.rate_check.noise import noise_of
from flops_fit.scaling_law import fit_scaling_law
from flops_fit.synthetic import synthetic_runs


def test_of_runs_of_the_law_it_is_their_noise():
    """Eight budgets of nine sizes: 48 degrees of freedom, so that the noise is known to a tenth."""
    law = fit_scaling_law(bent_runs(noise=0.004, span=3.0), form="chinchilla", bootstraps=20)
    assert noise_of(law) == pytest.approx(0.004, rel=0.35)


def test_a_law_that_does_not_hold_is_no_noise():
    """Losses that a five-parameter law misses by a percent, with a noise of 0.2 %."""
    runs = synthetic_runs(compute_budgets=np.geomspace(1e18, 1e20, 5), span=3.0, noise=0.002, seed=1)
    runs["loss"] *= 1 + 0.02 * np.sin(2 * np.log(runs["compute_budget"]))
    law = fit_scaling_law(runs, form="chinchilla", bootstraps=20)
    assert law.sigma > 0.006
    assert noise_of(law) == pytest.approx(0.002, rel=0.5)


def test_with_too_few_sizes_it_is_the_scatter_about_the_law():
    runs = synthetic_runs(compute_budgets=np.geomspace(1e18, 1e20, 5), sizes_per_budget=3, noise=0.002, seed=1)
    law = fit_scaling_law(runs, bootstraps=20)
    assert noise_of(law) == law.sigma
