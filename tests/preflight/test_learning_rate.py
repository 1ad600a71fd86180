"""The learning-rate check tells a good rate from a bad one."""

import pytest
from played_trials import PlayedTuning, tuned_study
from tiny_study import tiny_size_map, tiny_study
from trunk_study import plan_of, trunk_study

from flops_fit import Hardware, Recipe
from flops_fit.errors import StudyError
from flops_fit.preflight.learning_rate import LearningRateCheck, RateCurve, check_learning_rate
from flops_fit.recipe_law.options import TuningOptions
from flops_fit.stages import study_plan


def check(tmp_path, rate, factors=(0.125, 1.0, 8.0)):
    training = Recipe(learning_rate=rate, weight_decay=0.0)
    study = tiny_study(training=training, hardware=Hardware(device="cpu", workers=1))
    plan = study_plan(study, tiny_size_map())
    return check_learning_rate(study, plan, factors=factors, output_dir=tmp_path, progress=False), plan


def test_a_rate_that_is_far_too_low_is_told(tmp_path):
    found, plan = check(tmp_path, 1e-4)
    cheapest = [item for item in plan.experiments if item.compute_budget == plan.compute_budgets[0]]
    assert [curve.experiment for curve in found.curves] == [cheapest[0], cheapest[-1]]
    assert [curve.best for curve in found.curves] == pytest.approx([8e-4, 8e-4])
    assert sum("edge" in warning for warning in found.warnings) == 2
    assert found.flops == pytest.approx(6 * cheapest[0].compute_budget, rel=0.02)
    assert "| 0.0008 |" in found.table()
    assert found.table().count("(best)") == 2


def test_a_good_rate_is_not_doubted_and_nothing_is_trained_twice(tmp_path):
    found, _ = check(tmp_path, 0.1, (0.02, 1.0, 50.0))
    assert not any("edge" in warning for warning in found.warnings)
    times = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("result.json")}
    again, _ = check(tmp_path, 0.1, (0.02, 1.0, 50.0))
    assert again == found
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("result.json")} == times
    assert len(times) == 6


def test_a_tuned_rate_is_checked_as_any_other(tmp_path):
    tuned = tuned_study(TuningOptions(trainings=4, bounds={"learning_rate": (1e-4, 1.0)}))
    study = tuned.with_tuned_recipe(PlayedTuning(tuned).play().found)
    plan = study_plan(study, tiny_size_map())
    found = check_learning_rate(study, plan, factors=(0.125, 1.0, 8.0), output_dir=tmp_path, progress=False)
    assert [curve.recipe_rate for curve in found.curves] == [
        dict(curve.experiment.tuned)["learning_rate"] for curve in found.curves
    ]
    assert all(None not in curve.losses for curve in found.curves)


def test_sizes_that_want_different_rates_are_told():
    study = tiny_study()
    small, large = study_plan(study, tiny_size_map()).experiments[:2]
    curves = (
        RateCurve(experiment=small, recipe_rate=0.2, rates=(0.1, 0.2, 0.4, 0.8), losses=(1.0, 1.1, 0.5, 2.0)),
        RateCurve(experiment=large, recipe_rate=0.2, rates=(0.1, 0.2, 0.4, 0.8), losses=(3.0, None, None, None)),
    )
    found = LearningRateCheck(curves=curves, flops=0.0).warnings
    assert any("factor 4" in warning and "function of the experiment" in warning for warning in found)


def test_a_rule_that_gives_each_size_its_best_rate_is_not_doubted():
    study = tiny_study()
    small, large = study_plan(study, tiny_size_map()).experiments[:2]
    curves = (
        RateCurve(experiment=small, recipe_rate=0.4, rates=(0.2, 0.4, 0.8), losses=(1.0, 0.5, 2.0)),
        RateCurve(experiment=large, recipe_rate=0.05, rates=(0.025, 0.05, 0.1), losses=(3.0, 2.0, 2.5)),
    )
    assert LearningRateCheck(curves=curves, flops=0.0).warnings == ()


def test_noise_does_not_move_the_optimum_as_it_moves_the_lowest_loss():
    """Losses of the GPT example: lowest at 0.5 and 2 times the recipe's rate, their parabolas at 0.63 and 1.15."""
    study = tiny_study()
    small, large = study_plan(study, tiny_size_map()).experiments[:2]
    rates = (0.25, 0.5, 1.0, 2.0, 4.0)
    curves = (
        RateCurve(experiment=small, recipe_rate=1, rates=rates, losses=(2.5147, 2.4821, 2.5232, 2.5041, 2.5496)),
        RateCurve(experiment=large, recipe_rate=1, rates=rates, losses=(2.5984, 2.5032, 2.4766, 2.4711, 2.5599)),
    )
    assert [curve.best for curve in curves] == [0.5, 2.0]
    assert [curve.optimum for curve in curves] == pytest.approx([2**-0.669, 2**0.196], rel=0.01)
    assert LearningRateCheck(curves=curves, flops=0.0).warnings == ()


def test_too_few_factors_are_refused(tmp_path):
    with pytest.raises(StudyError, match="at least 3 positive"):
        check(tmp_path, 0.01, factors=(1.0, 2.0))


def test_a_recipe_that_shares_trunks_is_told_what_to_check_instead(tmp_path):
    study = trunk_study()
    with pytest.raises(StudyError, match="check without share_trunk, with schedule"):
        check_learning_rate(study, plan_of(study), output_dir=tmp_path)
