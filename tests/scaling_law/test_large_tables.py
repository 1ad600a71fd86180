"""Tables of thousands of runs: the answers of the full algorithm, and a word on what was not done in full."""

import numpy as np
import pytest
from bent_studies import bent_optimum, bent_runs

from flops_fit.report.report import write_report
from flops_fit.scaling_law import fit_scaling_law
from flops_fit.scaling_law.figures.plot_data import contour_data, drawn_words, frontier_data, isoflop_data
from flops_fit.scaling_law.fitting import one_step
from flops_fit.scaling_law.fitting.parametric import fit_parametric
from flops_fit.scaling_law.fitting.uncertainty import bootstrap, linearised, refit, resampled_counts
from flops_fit.synthetic import REPLICATION, synthetic_runs

SIZES = 620  # in each of 5 budgets: 3,100 runs


@pytest.fixture(scope="module")
def law():
    return fit_scaling_law(synthetic_runs(noise=0.003, sizes_per_budget=SIZES, seed=4), bootstraps=200)


def columns(runs):
    return [runs[name].to_numpy(dtype=float) for name in ("num_params", "num_tokens", "loss")]


def test_a_large_noise_free_table_gives_its_law_to_the_last_digits():
    fit = fit_parametric(*columns(synthetic_runs(sizes_per_budget=SIZES)))
    truth = [getattr(REPLICATION, name) for name in ("E", "A", "B", "alpha", "beta")]
    np.testing.assert_allclose(fit.parameters, truth, rtol=1e-6)


def test_resamples_by_one_step_spread_as_refits_in_full_do():
    runs = synthetic_runs(noise=0.003, noise_kind="t3", sizes_per_budget=SIZES, seed=5)
    fit, cluster = fit_parametric(*columns(runs)), np.arange(len(runs))
    stepped, said = bootstrap(fit, cluster, resamples=1000)
    full = refit(fit, resampled_counts(cluster, 300, seed=1))
    assert "one Newton step" in said
    for at in (0, 3, 4):  # E, alpha, beta; the standard deviation of 300 is known within 4 %
        assert stepped[:, at].std() == pytest.approx(full[:, at].std(), rel=0.13)
        assert stepped[:, at].mean() == pytest.approx(full[:, at].mean(), abs=0.3 * full[:, at].std())


def test_chunks_do_not_change_what_is_drawn(monkeypatch):
    whole = np.vstack(list(one_step.counts_in_chunks(40, 25, seed=3)))
    monkeypatch.setattr(one_step, "CHUNK", 120)
    parts = list(one_step.counts_in_chunks(40, 25, seed=3))
    assert [len(part) for part in parts] == [3] * 8 + [1]
    np.testing.assert_array_equal(np.vstack(parts), whole)
    assert (whole.sum(axis=1) == 40).all()


def test_leaving_a_run_out_by_one_step_is_leaving_it_out():
    runs = synthetic_runs(noise=0.003, noise_kind="outliers", sizes_per_budget=40, seed=6)
    fit, cluster = fit_parametric(*columns(runs)), np.arange(len(runs))
    change = linearised(fit).without_each(cluster) - fit.theta
    exact = np.log(refit(fit, 1.0 - np.eye(len(runs)))[:, 3]) - np.log(fit.parameters[3])
    worst = np.abs(exact).max()
    assert np.abs(change[:, 3] / fit.parameters[3] - exact).max() < 0.15 * worst
    assert np.argmax(np.abs(change[:, 3])) == np.argmax(np.abs(exact))


def test_where_one_step_would_not_do_there_are_refits_and_it_is_said(monkeypatch):
    runs = synthetic_runs(noise=0.003, sizes_per_budget=SIZES, seed=7)
    fit, cluster = fit_parametric(*columns(runs)), np.arange(len(runs)) // 310  # ten configurations
    monkeypatch.setattr(one_step, "AGREE", 1e-6)
    monkeypatch.setattr(one_step, "REFITS", 20)
    monkeypatch.setattr(one_step, "CELLS", 1)
    draws, said = bootstrap(fit, cluster, resamples=50)
    counts = next(one_step.counts_in_chunks(10, 20, seed=0))
    np.testing.assert_allclose(draws[:20], refit(fit, counts[:, cluster]), rtol=1e-6)
    np.testing.assert_array_equal(draws[20:40], draws[:20])
    assert "one of 20 refits in full" in said


def test_the_law_of_a_large_table_says_what_was_thinned(law, tmp_path):
    assert any("of 3,100 runs the search began on 2,000" in said for said in law.thinned)
    summary = " ".join(law.summary().split())
    page = write_report(law, tmp_path / "report.html").read_text()
    for said in law.thinned:
        assert said in summary
        assert said in page
    assert "1,000 of 3,100 runs" in page
    assert type(law).from_dict(law.to_dict()).thinned == law.thinned
    assert law.N_opt(1e22) == pytest.approx(float(REPLICATION.N_opt(1e22)), rel=0.05)


def test_a_small_table_is_not_thinned():
    law = fit_scaling_law(synthetic_runs(noise=0.003), bootstraps=10)
    assert law.thinned == ()
    assert drawn_words(law) == ""
    assert "thinned" not in law.summary()


def test_figures_draw_as_many_runs_as_they_say(law):
    assert drawn_words(law) == " (3,000 of 3,100 drawn)"
    assert len(frontier_data(law).run_C) == len(contour_data(law).run_N) == 3000
    assert sum(len(curve.N) for curve in isoflop_data(law).curves) == 3000


def test_a_large_bent_table_is_predicted_by_bent_laws_within_their_intervals():
    law = fit_scaling_law(bent_runs(sizes=270, noise=0.003, seed=2), bootstraps=200)
    assert law.form == "bent"
    assert any("what answers" in said for said in law.thinned)
    low, high = law.interval("N_opt", 1e21)
    assert low < bent_optimum(1e21) < high
