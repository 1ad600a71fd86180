"""What answers come from: the five-parameter law where the runs have its shape, laws that bend where they do not."""

import numpy as np
import pandas as pd
import pytest
from bent_studies import bent_loss, bent_optimum, bent_runs
from paths import BENCHMARKS

from flops_fit import ScalingLaw, fit_scaling_law
from flops_fit.errors import FitError
from flops_fit.synthetic import REPLICATION, synthetic_runs

FAR = 1e21  # ten times the largest budget


@pytest.fixture(scope="module")
def bent():
    return fit_scaling_law(bent_runs(), bootstraps=1000)


@pytest.fixture(scope="module")
def straight():
    return fit_scaling_law(synthetic_runs(REPLICATION, noise=0.003, span=6.0, seed=3), bootstraps=400)


def test_runs_that_bend_are_predicted_by_laws_that_do(bent):
    plain = fit_scaling_law(bent_runs(), form="chinchilla", bootstraps=2)
    truth = bent_loss(bent_optimum(FAR), FAR / 6 / bent_optimum(FAR))
    assert (bent.form, plain.form) == ("bent", "chinchilla")
    assert abs(np.log(bent.L_opt(FAR) / truth)) < abs(np.log(plain.L_opt(FAR) / truth)) / 3
    assert bent.L_opt(FAR) == pytest.approx(truth, rel=0.003)
    assert bent.N_opt(FAR) == pytest.approx(bent_optimum(FAR), rel=0.1)
    for name in ("E", "A", "B", "alpha", "beta", "objective"):
        assert getattr(bent, name) == getattr(plain, name)


def test_the_three_that_predict_the_largest_budget_best_are_chosen(bent):
    assert [candidate.chosen for candidate in bent.candidates] == [True] * 3 + [False] * 5
    errors = [candidate.error for candidate in bent.candidates]
    assert errors == sorted(errors)
    assert {candidate.window for candidate in bent.candidates} == {None, 5, 4, 3}


def test_what_answers_are_the_chosen_moved_alike(bent):
    """ln L is their mean at N·e^-s and D·e^s, and g more; E is e^h as large, the loss at the pivot as it was."""
    move = bent.prediction.moved
    assert 0 < abs(move.log_loss) < 0.02
    assert 0 < abs(move.log_size) < 0.2
    assert 0 < abs(move.log_E) < 0.05
    n_0, d_0 = move.pivot
    for N, D in ((1e8, 1e9), (1e9, 1e11)):
        n, d = N * np.exp(-move.log_size), D * np.exp(move.log_size)
        each = []
        for E, A, B, alpha, beta, gamma in (candidate.parameters for candidate in bent.candidates[:3]):
            rest, at_pivot = ((A * x**-alpha + B * y**-beta) ** gamma for x, y in ((n, d), (n_0, d_0)))
            lower = E * np.exp(move.log_E)
            each.append(lower + rest * (E + at_pivot - lower) / at_pivot)
        assert bent.loss(N, D) == pytest.approx(np.exp(np.log(each).mean() + move.log_loss), rel=1e-12)


def test_every_answer_comes_from_the_chosen_laws_and_keeps_its_compute(bent):
    N, D = bent.N_opt(FAR), bent.D_opt(FAR)
    assert pytest.approx(FAR) == 6 * N * D
    assert bent.loss(N, D) == bent.L_opt(FAR)
    assert bent.loss(N * 1.2, D / 1.2) > bent.L_opt(FAR) < bent.loss(N / 1.2, D * 1.2)
    assert bent.compute_for_loss(bent.L_opt(FAR)) == pytest.approx(FAR, rel=1e-6)
    cost = bent.cost_of_size(FAR, N / 2)
    assert bent.loss(N / 2, cost.compute_to_match / (6 * N / 2)) == pytest.approx(bent.L_opt(FAR), rel=1e-9)
    served = bent.inference_optimum(FAR, 1e12)
    assert served.N < N
    assert bent.loss(served.N, served.D) == pytest.approx(bent.L_opt(FAR), rel=1e-9)
    with pytest.raises(FitError, match="irreducible"):
        bent.compute_for_loss(bent.irreducible)


def test_where_the_law_holds_it_answers_itself(straight):
    assert (straight.form, straight.candidates) == ("chinchilla", ())
    assert straight.loss(1e9, 2e10) == pytest.approx(
        straight.E + straight.A * 1e9**-straight.alpha + straight.B * 2e10**-straight.beta
    )
    parts = straight.interval("N_opt", FAR, parts=True)
    assert set(parts) == {"sampling", "misfit", "total"}
    wide, narrow = (np.log(parts[name][1] / parts[name][0]) for name in ("total", "sampling"))
    assert 1.05 < wide / narrow < 1.3


def test_parts_of_an_interval_are_within_the_whole(bent):
    where = {"num_params": bent.N_opt(FAR), "num_tokens": bent.D_opt(FAR)}
    parts = bent.interval("new_run", **where, parts=True)
    assert set(parts) == {"sampling", "misfit", "run", "total"}
    widths = {name: high - low for name, (low, high) in parts.items()}
    assert widths["total"] > max(width for name, width in widths.items() if name != "total")
    assert bent.interval("new_run", **where) == parts["total"]
    for quantity, truth in (("N_opt", bent_optimum(FAR)), ("L_opt", bent_loss(*where.values()))):
        low, high = bent.interval(quantity, FAR)
        assert low < truth < high


def test_intervals_grow_with_the_distance_and_fit_together(bent):
    widths = [np.log(high / low) for low, high in (bent.interval("N_opt", compute) for compute in (1e20, 1e21, 1e22))]
    assert widths[0] < widths[1] < widths[2]
    (low, high), (few, many) = bent.interval("N_opt", FAR), bent.interval("D_opt", FAR)
    assert pytest.approx(FAR / 6, rel=0.02) == low * many
    assert pytest.approx(FAR / 6, rel=0.02) == high * few


def test_in_a_small_study_that_bends_the_five_parameter_law_is_moved_onto_the_largest_budget():
    runs = bent_runs(budgets=4, sizes=9)
    law, plain = fit_scaling_law(runs, bootstraps=50), fit_scaling_law(runs, form="chinchilla", bootstraps=50)
    assert law.form == "moved"
    assert law.parameters.tolist() == plain.parameters.tolist()
    move = law.prediction.moved
    assert law.irreducible == pytest.approx(plain.E * np.exp(move.log_loss + move.log_E), rel=1e-12)
    rest = 1 + plain.E * (1 - np.exp(move.log_E)) / (plain.loss(*move.pivot) - plain.E)
    expected = law.irreducible + (plain.L_opt(FAR) - plain.E) * rest * np.exp(move.log_loss)
    assert law.L_opt(FAR) == pytest.approx(expected, rel=1e-12)
    assert law.N_opt(FAR) == pytest.approx(plain.N_opt(FAR) * np.exp(move.log_size), rel=1e-12)
    valley = np.abs(np.log(runs["num_params"] / bent_optimum(runs["flops"]))) < np.log(2)
    top = runs[(runs["flops"] > 0.9 * runs["flops"].max()) & valley]
    off, before = (np.log(each.loss(top["num_params"], top["num_tokens"]) / top["loss"]) for each in (law, plain))
    assert np.mean(off**2) < np.mean(before**2)
    assert np.diff(law.interval("L_opt", FAR)) > np.diff(plain.interval("L_opt", FAR))
    assert "moved onto the runs at the largest compute" in law.summary()


def test_two_dozen_runs_at_many_budgets_say_how_they_bend():
    """Few sizes at each budget are enough where there are budgets to leave out."""
    runs = bent_runs(budgets=8, sizes=3, span=2.5)
    law, plain = fit_scaling_law(runs, bootstraps=2), fit_scaling_law(runs, form="chinchilla", bootstraps=2)
    assert len(runs) == 24
    assert law.form == "bent"
    truth = bent_loss(bent_optimum(FAR), FAR / 6 / bent_optimum(FAR))
    assert abs(np.log(law.L_opt(FAR) / truth)) < abs(np.log(plain.L_opt(FAR) / truth)) / 2


def test_intervals_without_resampling_are_refused_where_they_would_be_of_another_law(bent):
    assert bent.interval("alpha", method="delta")[0] < bent.alpha
    with pytest.raises(FitError, match="form='chinchilla'"):
        bent.interval("N_opt", FAR, method="profile")


def test_an_unknown_form_is_refused():
    with pytest.raises(FitError, match="give one of auto, chinchilla"):
        fit_scaling_law(bent_runs(), form="quadratic")


def test_a_published_objective_means_the_published_form():
    assert fit_scaling_law(bent_runs(), delta=1e-3, bootstraps=2).form == "chinchilla"


def test_kept_and_read_again_it_answers_the_same(bent, tmp_path):
    again = ScalingLaw.load(bent.save(tmp_path / "law.json"))
    assert again.form == "bent"
    assert again.candidates == bent.candidates
    assert again.interval("N_opt", FAR, parts=True) == bent.interval("N_opt", FAR, parts=True)
    assert again.predict(FAR) == bent.predict(FAR)


def test_runs_far_larger_than_any_training_run_are_predicted_on_a_public_grid(monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)
    import tables

    path = tables.DATA / "farseer.csv"
    if not path.is_file():
        pytest.skip(f"the public tables are not at hand ({path})")
    runs = pd.read_csv(path)
    train, test = (runs[runs["split"] == part] for part in ("train", "test"))
    law = fit_scaling_law(train, bootstraps=2)
    left = ((law.loss(test["num_params"], test["num_tokens"]) - test["loss"]) ** 2).sum()
    assert 1 - left / ((test["loss"] - test["loss"].mean()) ** 2).sum() >= 0.9


def test_a_law_with_a_candidate_that_could_not_be_judged_is_kept(tmp_path):
    """With three budgets the windows of the last ones cannot be fitted without the largest: their error is infinite."""
    law = fit_scaling_law(bent_runs(budgets=3), bootstraps=20)
    errors = [candidate.error for candidate in law.candidates]
    assert np.inf in errors
    law.save(tmp_path / "law.json")
    assert [candidate.error for candidate in ScalingLaw.load(tmp_path / "law.json").candidates] == errors


@pytest.mark.parametrize(("budgets", "sizes"), [(2, 12), (2, 8)])
def test_a_study_too_small_to_leave_a_budget_out_has_a_law_all_the_same(budgets, sizes):
    """Nothing of its own says how far off it has been: what public studies showed does."""
    law = fit_scaling_law(bent_runs(budgets=budgets, sizes=sizes, noise=1e-6), bootstraps=20)
    assert law.prediction.bend_chance < 0.01
    assert law.form == "moved"
    assert law.prediction.misses == ()
    low, high = law.interval("L_opt", FAR)
    assert low < law.L_opt(FAR) < high
    assert law.verdict != "trustworthy"
