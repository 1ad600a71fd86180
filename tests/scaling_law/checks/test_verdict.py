"""Every diagnostic has a study that triggers it and one that does not."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from bent_studies import bent_runs

from flops_fit.basics.diagnostic import Diagnostic
from flops_fit.errors import FitError
from flops_fit.scaling_law import FlopsPerToken, fit_scaling_law, read_runs
from flops_fit.scaling_law.checks.evidence import Evidence
from flops_fit.scaling_law.checks.verdict import diagnose, verdict
from flops_fit.scaling_law.fitting.parametric import fit_parametric
from flops_fit.synthetic import DATA_HEAVY, MODEL_HEAVY, REPLICATION, synthetic_runs


def good(**options):
    return synthetic_runs(**{"noise": 0.003, "seed": 1, "span": 6.0, **options})


def codes(runs, **options):
    return {finding.code for finding in fit_scaling_law(runs, bootstraps=200, **options).diagnostics}


def one_token_ratio():
    runs = good()
    N = np.geomspace(1e7, 1e9, 20)
    D = 20 * N
    return runs.head(20).assign(
        num_params=N, num_tokens=D, flops=6 * N * D, compute_budget=6 * N * D, loss=REPLICATION.loss(N, D)
    )


def one_run_decides():
    runs = good(compute_budgets=(1e18, 1e19), sizes_per_budget=6, noise=0.004)
    return pd.concat([runs, lone(1e21, 1.02)], ignore_index=True)


def lone(compute, off=1.0):
    return synthetic_runs(compute_budgets=(compute,), sizes_per_budget=1).assign(
        loss=lambda t: t["loss"] * off, experiment_id="lone"
    )


def two_seeds(bend):
    law_fails = (lambda N, D, loss: loss * (1 + 0.03 * np.sin(2 * np.log(N)))) if bend else None
    return good(seeds=2, noise=0.0005, transform=law_fails)


def drifting():
    return good(transform=lambda N, D, loss: loss * (1 + 0.02 * np.sin(1.5 * np.log(6 * N * D))), noise=0.001)


def breaks_at_the_top():
    runs = good()
    top = runs["compute_budget"] == runs["compute_budget"].max()
    return runs.assign(loss=runs["loss"].where(~top, runs["loss"] * 1.06))


def with_outlier(count=1):
    runs = good()
    runs.loc[np.arange(count) * 5, "loss"] *= 1.2
    return runs


def curves_apart():
    """At the largest budget large models are trained badly: its own minimum moves further than the law goes with it. Of
    more than three sizes it would see the bend and follow."""

    def tilt(N, D, loss):
        C = 6 * N * D
        return loss * (1 + 0.03 * np.log(N / REPLICATION.N_opt(C)) * (C > 9e19))

    return good(transform=tilt, noise=0.001, sizes_per_budget=3)


def flat_in_d():
    """So little noise-free curvature and so much noise that nothing can be said far out."""
    return good(noise=0.05, span=2.0, compute_budgets=(1e18, 2e18, 1.2e19), seed=3)


def bends_off_the_valley():
    def bend(N, D, loss):
        return loss * (1 + 0.05 * np.maximum(np.log(N / REPLICATION.N_opt(6 * N * D)), 0) ** 2)

    return good(transform=bend, noise=0.001, span=9.0, sizes_per_budget=11)


def loss_without_tokens():
    """Loss independent of D: its exponent can be anything."""
    runs = good(noise=0.0005)
    return runs.assign(loss=2.0 + 400 / runs["num_params"] ** 0.34)


def no_irreducible_loss():
    runs = good(noise=0.0005)
    return runs.assign(loss=480 * runs["num_params"] ** -0.35 + 2000 * runs["num_tokens"] ** -0.36)


def scattered_flops():
    runs = good()
    return runs.assign(flops=runs["flops"] * np.exp(0.3 * np.random.default_rng(0).standard_normal(len(runs))))


TRIGGERS = {
    "no_interior_minimum": lambda: good(off_centre=30.0),
    "no_isoflop_curves": lambda: good(sizes_per_budget=2, compute_budgets=np.geomspace(1e18, 1e20, 10)),
    "too_few_budgets": lambda: good(compute_budgets=(1e18, 1e20), sizes_per_budget=12),
    "narrow_compute_range": lambda: good(compute_budgets=(1e18, 2e18, 4e18)),
    "too_few_runs": lambda: good(sizes_per_budget=3, compute_budgets=(1e18, 1e19, 1e20), noise=0.0005),
    "narrow_tokens_per_param": lambda: good(span=1.2),
    "tokens_per_param_unidentifiable": one_token_ratio,
    "flops_deviate": scattered_flops,
    "excluded_runs": lambda: good(broken_fraction=0.3),
    "repeated_data": lambda: good().assign(epochs=2.0),
    "at_bound": no_irreducible_loss,
    "undetermined": one_token_ratio,
    "high_leverage": one_run_decides,
    "residual_trend": drifting,
    "lack_of_fit": lambda: two_seeds(bend=True),
    "weakly_identified": flat_in_d,
    "outliers": with_outlier,
    "holdout_error": breaks_at_the_top,
    "approaches_disagree": curves_apart,
    "law_bends": bent_runs,
    "curve_bias": lambda: good(span=30.0, law=DATA_HEAVY),
    "weighting_matters": bends_off_the_valley,
}


@pytest.fixture(scope="module")
def clean():
    return codes(good(seeds=2))


@pytest.mark.parametrize("code", TRIGGERS)
def test_the_study_that_has_the_fault_is_told_and_the_one_without_is_not(code, clean):
    assert code in codes(TRIGGERS[code]())
    assert code not in clean


def test_of_a_law_that_the_runs_do_not_determine_nothing_else_is_said_of_the_fit():
    tokens_follow = one_token_ratio().assign(
        num_tokens=lambda t: t["num_params"] ** 1.2, flops=lambda t: 6 * t["num_params"] ** 2.2
    )
    constant = good().assign(loss=2.0)
    for runs in (one_token_ratio(), tokens_follow, constant, loss_without_tokens()):
        law = fit_scaling_law(runs, bootstraps=20)
        assert law.verdict == "not supported"
        assert "undetermined" in {finding.code for finding in law.diagnostics}
        assert not {"at_bound", "weakly_identified", "high_leverage"} & {finding.code for finding in law.diagnostics}


def test_a_fit_that_stopped_short_is_not_supported():
    fit = fit_parametric(*(good()[name].to_numpy() for name in ("num_params", "num_tokens", "loss")))
    evidence = Evidence(
        runs=read_runs(good()),
        fit=replace(fit, converged=False),
        other=None,
        minima=(),
        flops_per_token=FlopsPerToken(),
        draws=np.tile(fit.parameters, (2, 1)),
        holdout=None,
    )
    assert "not_converged" in {finding.code for finding in diagnose(evidence)}


def test_extrapolation_is_said_beyond_a_hundred_times():
    law = fit_scaling_law(good(), bootstraps=50)
    assert law.predict(1e22)["warnings"] == []
    assert "beyond 100" in law.predict(1.1e22)["warnings"][0]


@pytest.mark.parametrize("off_centre", [1 / 40, 1 / 8, 1 / 4.2, 4.2, 8.0, 40.0])
@pytest.mark.parametrize("truth", [REPLICATION, DATA_HEAVY, MODEL_HEAVY], ids=["replication", "data", "model"])
def test_a_minimum_outside_the_grid_is_never_trustworthy(off_centre, truth):
    for noise in (0.001, 0.01):
        law = fit_scaling_law(good(law=truth, off_centre=off_centre, noise=noise, span=4.0), bootstraps=50)
        assert law.verdict != "trustworthy"


def test_clean_studies_are_trusted():
    verdicts = [fit_scaling_law(good(seed=seed, span=4.0), bootstraps=50).verdict for seed in range(12)]
    assert verdicts.count("trustworthy") >= 11


def test_findings_come_gravest_first_with_a_remedy():
    law = fit_scaling_law(good(off_centre=30.0, broken_fraction=0.1), bootstraps=50)
    order = [("error", "warning", "info").index(finding.severity) for finding in law.diagnostics]
    assert order == sorted(order)
    assert all(finding.remedy and finding.message for finding in law.diagnostics)
    assert law.verdict != "trustworthy"


def test_what_can_be_trusted_depends_on_the_target():
    law = fit_scaling_law(bent_runs(noise=0.003), bootstraps=200)
    assert law.verdict_at(3e20, "N_opt") == "trustworthy"
    assert law.verdict_at(1e22, "N_opt") != "trustworthy"
    errors = [law.predicted_error(compute, "loss") for compute in (3e20, 1e21, 1e22)]
    assert errors == sorted(errors)
    low, high = law.interval("N_opt", 1e22)
    assert 1 + law.predicted_error(1e22) == pytest.approx(max(high / law.N_opt(1e22), law.N_opt(1e22) / low))
    with pytest.raises(FitError, match="give one of N_opt, D_opt, loss"):
        law.verdict_at(1e21, "alpha")


@pytest.mark.parametrize(
    ("error", "severities", "said"),
    [
        (0.4, (), "trustworthy"),
        (0.6, (), "provisional"),
        (1.5, ("info",), "provisional"),
        (1.8, (), "not supported"),
        (np.inf, (), "not supported"),
        (0.1, ("warning",), "provisional"),
        (0.1, ("info", "error"), "not supported"),
    ],
)
def test_a_verdict_is_the_predicted_error_over_its_limit_and_what_was_found(error, severities, said):
    findings = [Diagnostic(code="any", severity=severity, message="", remedy="") for severity in severities]
    assert verdict(findings, "N_opt", error) == said


@pytest.mark.parametrize("code", ["at_bound", "no_interior_minimum", "weakly_identified"])
def test_doubts_are_errors_only_where_the_predicted_error_is_no_better(code):
    doubt = [Diagnostic(code=code, severity="error", message="", remedy="")]
    assert [verdict(doubt, "N_opt", error) for error in (0.1, 0.49, 0.51)] == ["provisional"] * 2 + ["not supported"]
    lost = [Diagnostic(code="undetermined", severity="error", message="", remedy="")]
    assert verdict([*doubt, *lost], "N_opt", 0.1) == "not supported"


def test_what_speaks_against_the_size_alone_leaves_the_loss_be():
    apart = [Diagnostic(code="approaches_disagree", severity="warning", message="", remedy="")]
    assert [verdict(apart, name, 0.01) for name in ("N_opt", "loss")] == ["provisional", "trustworthy"]


@pytest.mark.parametrize(("steeper", "apart"), [(0.1, False), (0.2, True)])
def test_approaches_whose_exponents_differ_disagree_even_where_they_meet(steeper, apart):
    law = fit_scaling_law(good(), bootstraps=20)
    meet = 10 * law.runs.flops.max()  # where N_opt is compared
    minima = tuple(
        replace(minimum, N=law.N_opt(meet) * (minimum.compute_budget / meet) ** (law.a + steeper), bias=1.0)
        for minimum in law.isoflops
    )
    evidence = Evidence(
        runs=law.runs,
        fit=fit_parametric(law.runs.num_params, law.runs.num_tokens, law.runs.loss),
        other=None,
        minima=minima,
        flops_per_token=law.flops_per_token,
        draws=law.draws,
        holdout=None,
    )
    assert ("approaches_disagree" in {finding.code for finding in diagnose(evidence)}) is apart


def test_a_five_parameter_law_of_runs_that_bend_is_not_trusted_on_its_sampling_error():
    law = fit_scaling_law(bent_runs(), form="chinchilla", bootstraps=50)
    assert {finding.code: finding.severity for finding in law.diagnostics}["law_bends"] == "warning"
    assert law.verdict != "trustworthy"


def test_models_are_asked_for_on_the_side_where_the_minimum_lies():
    for off, side in ((30.0, "smaller"), (1 / 30.0, "larger")):
        found = fit_scaling_law(good(off_centre=off), bootstraps=20).diagnostics
        remedy = next(each.remedy for each in found if each.code == "no_interior_minimum")
        assert remedy == f"add {side} models to these budgets"


def test_flops_that_do_not_follow_from_size_and_tokens_are_not_trusted():
    law = fit_scaling_law(scattered_flops(), bootstraps=100)
    assert law.verdict != "trustworthy"
