"""The report shows the tuned recipe: its rule, its price, its trials."""

import pytest
from played_trials import PlayedTuning, best_rate, tuned_study

from flops_fit.recipe_law.options import TuningOptions
from flops_fit.recipe_law.shown import optimum_rows
from flops_fit.report.report import write_report
from flops_fit.scaling_law import fit_scaling_law
from flops_fit.synthetic import synthetic_runs


@pytest.fixture(scope="module")
def found():
    return PlayedTuning(tuned_study(TuningOptions(trainings=10))).play().found


def test_rule_price_and_trials_are_there(found, tmp_path):
    law = fit_scaling_law(synthetic_runs(noise=0.003), bootstraps=20)
    text = write_report(law, tmp_path / "report.html", tuned=found).read_text()
    assert "<h2>The tuned recipe</h2>" in text
    assert f"Found by {len(found.trials)} trials, {found.law.diverged} of which diverged" in text
    assert f"{found.flops / found.study_flops:.1%} of the study" in text
    assert f'aria-label="Loss against learning_rate of {len(found.trials)} trials' in text
    assert text.count("learning_rate = ") == len(found.trials)
    assert "The tuned recipe" not in write_report(law, tmp_path / "plain.html").read_text()


def test_a_row_has_the_value_used_within_the_interval_of_the_best(found):
    ((N, D, name, used, between, lost),) = optimum_rows(found, [(100.0, 1000.0)])
    low, high = map(float, between.split(" to "))
    assert (N, D, name) == ("100", "1.00k", "learning_rate")
    assert low < float(used) < high
    assert low < best_rate(100, 1000) < high
    assert float(lost.rstrip("%")) > 0
