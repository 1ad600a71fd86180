"""From loss to a metric: the sigmoid is found again, its intervals hold, and what cannot be read is said."""

import dataclasses
import json

import numpy as np
import pandas as pd
import pytest

from flops_fit import fit_metric, fit_scaling_law
from flops_fit.errors import FitError
from flops_fit.scaling_law.from_loss.metric_law import with_metrics
from flops_fit.scaling_law.from_loss.sigmoid import fit_sigmoid, limits_of
from flops_fit.synthetic import synthetic_runs

FLOOR, CEILING, SLOPE, MIDPOINT = 0.25, 0.95, 3.0, 2.6
TARGET = 1e22


def by_hand(loss, floor=FLOOR, ceiling=CEILING, slope=SLOPE, midpoint=MIDPOINT):
    """As Bhagia et al. write it: a / (1 + exp(-k (L - L0))) + b with k < 0."""
    return (ceiling - floor) / (1 + np.exp(slope * (loss - midpoint))) + floor


@pytest.fixture(scope="module")
def runs():
    return synthetic_runs(noise=0.0)


@pytest.fixture(scope="module")
def law(runs):
    return fit_scaling_law(runs, bootstraps=200, form="chinchilla")


def noisy(runs, sigma, seed=0, **parameters):
    noise = sigma * np.random.default_rng(seed).standard_normal(len(runs))
    return runs.assign(accuracy=by_hand(runs.loss, **parameters) + noise)


def test_the_sigmoid_is_found_again_and_read_at_the_laws_loss(runs, law):
    metric = fit_metric(law, noisy(runs, 0), "accuracy")
    assert metric.parameters == pytest.approx([FLOOR, CEILING, SLOPE, MIDPOINT], rel=1e-6)
    assert metric.at(TARGET) == pytest.approx(by_hand(law.L_opt(TARGET)), rel=1e-6)
    assert metric.at_loss(np.array([2.0, MIDPOINT])) == pytest.approx([by_hand(2.0), (FLOOR + CEILING) / 2])
    assert metric.sigma < 1e-6
    assert metric.diagnostics == ()


@pytest.mark.parametrize("scale", [1.0, 100.0, -1.0])
def test_it_does_not_matter_what_a_metric_is_counted_in(scale):
    loss = np.linspace(2, 4, 15)
    value = by_hand(loss, midpoint=3.0) * 100 * abs(scale) + (0 if scale > 0 else -500)
    found = fit_sigmoid(loss, value, limits_of(value, None, None))
    assert found[2:] == pytest.approx([SLOPE, 3.0], rel=1e-4)


def test_known_ends_are_held_and_narrow_the_answer(runs, law):
    table = noisy(runs[runs.loss > 2.8], 0.01)
    free, known = fit_metric(law, table, "accuracy"), fit_metric(law, table, "accuracy", floor=FLOOR, ceiling=CEILING)
    assert (known.floor, known.ceiling, known.known) == (FLOOR, CEILING, ("floor", "ceiling"))
    widths = [high - low for low, high in (metric.interval(TARGET) for metric in (free, known))]
    assert widths[1] < widths[0]
    assert (known.draws[:, 0] == FLOOR).all()


def test_the_interval_is_that_of_the_noise_where_all_else_is_known(runs, law):
    """Many runs of a noise-free law: of a new run 90 % lie within 1.645 sd of the metric's noise."""
    table = pd.concat([noisy(runs, 0.01, seed) for seed in range(30)])
    metric = fit_metric(law, table, "accuracy", resamples=100)
    assert metric.sigma == pytest.approx(0.01, rel=0.1)
    low, high = metric.interval(1e20)
    assert high - low == pytest.approx(2 * 1.645 * 0.01, rel=0.15)
    low, high = metric.interval(1e20, new_run=False)
    assert high - low < 0.003
    assert low < by_hand(law.L_opt(1e20)) < high


def test_the_laws_own_uncertainty_goes_into_the_interval(runs, law):
    rough = synthetic_runs(noise=0.02, seed=1)
    wide = fit_metric(fit_scaling_law(rough, bootstraps=200), noisy(rough, 0), "accuracy").interval(TARGET)
    narrow = fit_metric(law, noisy(runs, 0), "accuracy").interval(TARGET)
    assert wide[1] - wide[0] > 5 * (narrow[1] - narrow[0])


def test_intervals_of_another_law_hold_the_truth():
    """Ten studies of one law and one sigmoid: 90 % intervals of the mean miss it 0 to 3 times (4 or more: 1 %)."""
    truth = by_hand(fit_scaling_law(synthetic_runs(noise=0.0), bootstraps=20).L_opt(1e21))
    missed = 0
    for seed in range(10):
        runs = synthetic_runs(noise=0.003, seed=seed)
        law = fit_scaling_law(runs, bootstraps=100, form="chinchilla")
        low, high = fit_metric(law, noisy(runs, 0.01, seed), "accuracy", resamples=60).interval(1e21, new_run=False)
        missed += not low <= truth <= high
    assert missed <= 3


def test_shares_stay_between_0_and_1(runs, law):
    table = noisy(runs, 0.05, floor=0.0, ceiling=1.0, midpoint=3.5)
    table["accuracy"] = table["accuracy"].clip(0, 1)
    draws = fit_metric(law, table, "accuracy").draws_at(1e23)
    assert draws.min() >= 0
    assert draws.max() <= 1


def test_the_loss_is_that_of_the_laws_set(runs, law):
    table = noisy(runs, 0).rename(columns={"loss": "loss_code"}).assign(loss=7.0)
    of_code = dataclasses.replace(law, options={**law.options, "held_out_set": "code"})
    assert fit_metric(of_code, table, "accuracy").midpoint == pytest.approx(MIDPOINT, rel=1e-6)
    named = fit_metric(law, table, "accuracy", columns={"loss": "loss_code"})
    assert named.midpoint == pytest.approx(MIDPOINT, rel=1e-6)


def test_runs_without_the_metric_are_left_out(runs, law):
    table = noisy(runs, 0).assign(status="completed")
    table.loc[table.index[:5], "accuracy"] = np.nan
    table.loc[table.index[5], "status"] = "failed"
    assert len(fit_metric(law, table, "accuracy").loss) == len(runs) - 6


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda table: table.assign(accuracy=-table.accuracy), "accuracy rises with loss; give one that falls"),
        (lambda table: table.assign(accuracy=0.5), "accuracy is the same in all runs"),
        (lambda table: table.head(5), "5 runs have both loss and accuracy; at least 6"),
        (lambda table: table.drop(columns="accuracy"), "the runs have no column accuracy"),
    ],
)
def test_what_cannot_be_fitted_is_refused(runs, law, change, said):
    with pytest.raises(FitError, match=said):
        fit_metric(law, change(noisy(runs, 0)), "accuracy")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"floor": 1.0, "ceiling": 0.5}, "floor = 1 must lie below ceiling = 0.5"),
        ({"resamples": 3}, "resamples = 3 must be"),
        ({"floor": "chance"}, "floor = 'chance' must be"),
    ],
)
def test_options_out_of_range_are_refused(runs, law, options, said):
    with pytest.raises(FitError, match=said):
        fit_metric(law, noisy(runs, 0), "accuracy", **options)


def test_a_metric_that_has_not_moved_yet_says_so(runs, law):
    metric = fit_metric(law, noisy(runs, 0.02, midpoint=0.5), "accuracy")
    assert [finding.code for finding in metric.diagnostics] == ["metric_flat"]
    assert "times its noise of" in metric.diagnostics[0].message


def test_a_loss_far_below_the_runs_is_said(runs, law):
    metric = fit_metric(law, noisy(runs[runs.flops < 1e19], 0), "accuracy")
    assert metric.findings_at(3e18) == []
    (finding,) = metric.findings_at(1e24)
    assert finding.code == "metric_far"
    assert "where the runs end at" in finding.message


def test_a_law_that_is_not_determined_has_no_metric(runs):
    one_size = runs[runs.num_params == runs.num_params.iloc[0]].head(3)
    law = fit_scaling_law(pd.concat([one_size, runs.head(6)]), bootstraps=20)
    if law.determined:
        pytest.skip("the few runs fix it")
    with pytest.raises(FitError, match="do not determine it"):
        fit_metric(law, noisy(runs, 0), "accuracy")


def test_it_is_shown_with_the_law_and_kept_in_its_file(runs, law, tmp_path):
    from flops_fit import ScalingLaw
    from flops_fit.report.report import report_html

    shown = with_metrics(law, noisy(runs, 0.005), ["accuracy"])
    assert "  metric           compute" in shown.summary()
    again = ScalingLaw.load(shown.save(tmp_path / "law.json"))
    assert again.summary() == shown.summary()
    assert "<h2>Metrics</h2>" in report_html(shown, "law")
    assert with_metrics(law, runs, []) is law
    assert json.dumps(fit_metric(law, noisy(runs, 0.005), "accuracy").rows([TARGET]))
    assert "1.00e+22" in fit_metric(law, noisy(runs, 0.005), "accuracy").table([TARGET])


def test_the_command_predicts_a_column(runs, tmp_path):
    from click.testing import CliRunner

    from flops_fit_assets.cli import main

    path = tmp_path / "runs.csv"
    noisy(runs, 0.005).to_csv(path, index=False)
    done = CliRunner().invoke(main, ["fit", str(path), "--metric", "accuracy"])
    assert done.exit_code == 0, done.output
    assert len([line for line in done.output.splitlines() if line.startswith("  accuracy ")]) == 2
    done = CliRunner().invoke(main, ["fit", str(path), "--metric", "acc"])
    assert done.exit_code == 1
    assert "no column acc" in done.output


def test_losses_of_a_held_out_set_are_read_as_the_law_was_told_too(runs, law):
    """Perplexities on the set's own column are losses only through their logarithm."""
    of_code = dataclasses.replace(law, options={**law.options, "held_out_set": "code"})
    table = noisy(runs, 0).assign(loss=9.0, loss_code=np.exp(runs.loss))
    metric = fit_metric(of_code, table, "accuracy", loss_kind="perplexity")
    assert metric.parameters == pytest.approx([FLOOR, CEILING, SLOPE, MIDPOINT], rel=1e-6)

    shifted = fit_metric(of_code, table.assign(loss_code=runs.loss - 0.5), "accuracy", loss_offset=0.5)
    assert shifted.midpoint == pytest.approx(MIDPOINT, rel=1e-6)
