"""How much every answer moves with E: what a fit with E held at either end of its interval says."""

import numpy as np
import pytest
from bent_studies import bent_runs

from flops_fit.errors import FitError
from flops_fit.scaling_law import ScalingLaw, fit_scaling_law
from flops_fit.synthetic import DATA_HEAVY, synthetic_runs


def test_it_is_what_a_fit_with_e_held_there_says():
    runs = synthetic_runs(DATA_HEAVY, noise=0.003, seed=2)
    law = fit_scaling_law(runs, delta=0.01, bootstraps=300)
    for end, found in zip(law.interval("E"), law.sensitivity_to_E(1e22), strict=True):
        held = fit_scaling_law(runs, delta=0.01, fix={"E": end}, bootstraps=2)
        assert pytest.approx(end) == found.E
        answers = held.N_opt(1e22), held.D_opt(1e22), held.L_opt(1e22)
        assert (found.N_opt, found.D_opt, found.L_opt) == pytest.approx(answers, rel=1e-4)


def test_what_else_is_held_stays_held():
    runs = synthetic_runs(DATA_HEAVY, noise=0.003, seed=2)
    fix = {"alpha": 0.26, "A": (115.0, 125.0)}
    law = fit_scaling_law(runs, fix=fix, delta=0.01, bootstraps=300)
    for end in law.sensitivity_to_E(1e22):
        both = fit_scaling_law(runs, fix={**fix, "E": end.E}, delta=0.01, bootstraps=2)
        assert both.N_opt(1e22) == pytest.approx(end.N_opt, rel=1e-4)
    known = fit_scaling_law(runs, fix={"E": 1.7}, form="chinchilla", bootstraps=20)
    same = known.sensitivity_to_E(1e22)
    assert [each.N_opt for each in same] == pytest.approx([known.N_opt(1e22)] * 2, rel=1e-6)


def test_of_a_law_that_bends_it_is_the_irreducible_loss_of_the_mixture(tmp_path):
    law = fit_scaling_law(bent_runs(), bootstraps=100)
    assert law.form == "bent"
    low, high = law.sensitivity_to_E(1e21)
    irreducible = np.exp(np.log(law.member_draws[:, :, 0]).mean(axis=1))
    assert pytest.approx(np.quantile(irreducible, [0.05, 0.95]).tolist(), rel=1e-9) == [low.E, high.E]
    assert low.E < law.irreducible < high.E
    assert low.L_opt < law.L_opt(1e21) < high.L_opt
    assert law.flops_per_token(low.N_opt) * low.D_opt == pytest.approx(1e21)
    again = ScalingLaw.load(law.save(tmp_path / "law.json"))
    assert again.sensitivity_to_E(1e21) == (low, high)


def test_a_law_from_before_it_was_kept_says_so():
    content = fit_scaling_law(bent_runs(), bootstraps=10).to_dict()
    del content["prediction"]["members_with_E"]
    old = ScalingLaw.from_dict(content)
    with pytest.raises(FitError, match="fit it again"):
        old.sensitivity_to_E(1e21)
    assert "held at" not in old.summary()


def test_the_summary_says_it_where_it_matters_and_only_there():
    clear = fit_scaling_law(synthetic_runs(noise=0.001, span=6.0, seed=3), bootstraps=200)
    assert "the ends of its interval" not in clear.summary()
    vague = fit_scaling_law(synthetic_runs(compute_budgets=(1e18, 3e18, 1e19), noise=0.005, seed=0), bootstraps=200)
    low, high = vague.sensitivity_to_E(1e21)
    assert high.L_opt / low.L_opt > 1.01
    (line,) = [line for line in vague.summary().splitlines() if "the ends of its interval" in line]
    assert f"{low.E:.4g} or {high.E:.4g}" in line
    assert (
        f"loss {low.L_opt / vague.L_opt(1e21) - 1:+.1%} or {high.L_opt / vague.L_opt(1e21) - 1:+.1%} at 1.00e+21"
        in line
    )
