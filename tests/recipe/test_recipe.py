"""The recipe: values checked, schedules and batch rules as pure functions."""

import pytest
import torch
from tiny_study import TinyMLP, held_out, tiny_study, train

from flops_fit import DataSpec, Experiment, LossSpec, ModelSpec, Recipe
from flops_fit.errors import StudyError
from flops_fit.stages import study_plan, study_size_map


def test_linear_schedule_warms_up_and_ends_at_its_floor():
    recipe = Recipe(warmup_fraction=0.1, schedule="linear", final_fraction=0.2)
    assert recipe.schedule_factor(0.05) == pytest.approx(0.5)
    assert recipe.schedule_factor(0.1) == pytest.approx(1.0)
    assert recipe.schedule_factor(0.55) == pytest.approx(0.6)
    assert recipe.schedule_factor(1.0) == pytest.approx(0.2)


def test_cosine_and_constant_schedules():
    assert Recipe(warmup_fraction=0.0, schedule="cosine").schedule_factor(1 / 3) == pytest.approx(0.75)
    assert Recipe(warmup_fraction=0.0, schedule="constant").schedule_factor(1.0) == 1.0


def test_wsd_is_constant_until_its_last_part_and_then_linear():
    recipe = Recipe(warmup_fraction=0.1, schedule="wsd", decay_fraction=0.2, final_fraction=0.1)
    assert recipe.schedule_factor(0.05) == pytest.approx(0.5)
    assert [recipe.schedule_factor(progress) for progress in (0.1, 0.5, 0.8)] == [1.0, 1.0, 1.0]
    assert recipe.schedule_factor(0.9) == pytest.approx(0.55)
    assert recipe.schedule_factor(1.0) == pytest.approx(0.1)


def test_wsd_that_decays_from_the_start_is_the_linear_schedule():
    linear, wsd = (Recipe(warmup_fraction=0.0, schedule=name, decay_fraction=1.0) for name in ("linear", "wsd"))
    for progress in (0.0, 0.3, 0.99):
        assert wsd.schedule_factor(progress) == pytest.approx(linear.schedule_factor(progress))


def test_warmup_and_decay_longer_than_the_run_are_refused():
    with pytest.raises(StudyError, match="more than the whole run"):
        Recipe(schedule="wsd", warmup_fraction=0.5, decay_fraction=0.6)
    Recipe(schedule="linear", warmup_fraction=0.5, decay_fraction=0.6)


def experiment(num_tokens, **changes):
    given = {"experiment_id": "x", "compute_budget": 6e6 * num_tokens, "size_param": "width", "size_param_value": 8}
    given |= {"num_params": 1_000_000, "num_tokens": num_tokens, "flops_per_token": 6e6}
    return Experiment(**given | changes)


def test_batch_rules():
    assert Recipe(batch_tokens="0.5*sqrt(tokens)").tokens_per_step(experiment(10_000)) == 50.0
    assert Recipe(batch_tokens=4096).tokens_per_step(experiment(10_000)) == 4096.0
    assert Recipe(batch_tokens="2*tokens^0.75").tokens_per_step(experiment(10_000)) == pytest.approx(2000.0)
    assert Recipe(batch_tokens="2 * tokens ** 0.5").tokens_per_step(experiment(10_000)) == 200.0


def test_a_written_learning_rate_knows_the_batch_of_its_recipe():
    recipe = Recipe(learning_rate="0.1*sqrt(batch/params)", batch_tokens=400)
    assert recipe.peak_learning_rate(experiment(10_000)) == pytest.approx(0.1 * 0.02)
    ruled = Recipe(learning_rate="min(0.5, 0.04*params^-0.5*tokens^0.25)")
    assert ruled.peak_learning_rate(experiment(10_000)) == pytest.approx(0.04 * 0.001 * 10)


def test_the_defaults_are_what_the_documentation_argues_for():
    """At Step Law's cheapest cell (N 2.15e8, D 4e9), whose best were a rate of 0.00195 and 89 sequences of 2,048."""
    cell = experiment(4_000_000_000, num_params=215_000_000)
    assert Recipe().peak_learning_rate(cell) == pytest.approx(0.00195, rel=0.05)
    assert Recipe().tokens_per_step(cell) == pytest.approx(89 * 2048, rel=0.15)
    assert Recipe().of(cell).betas[1] == pytest.approx(0.9775, abs=0.001)  # 0.5^(162,755 / 5e6)
    assert Recipe().peak_learning_rate(experiment(100_000, num_params=100)) == 0.02  # never above


def test_the_second_moment_forgets_half_in_a_hundredth_of_a_short_run():
    recipe = Recipe(batch_tokens=100)
    assert recipe.of(experiment(1_000_000)).betas == (0.9, pytest.approx(0.5 ** (1 / 100)))  # 100 of 10,000 steps
    assert recipe.of(experiment(10_000)).betas == (0.9, 0.9)  # of a hundred steps
    assert Recipe(betas=(0.8, 0.95)).of(experiment(100_000)).betas == (0.8, 0.95)


def test_only_what_decides_the_outcome_is_in_it():
    assert Recipe(checkpoint_seconds=1.0).outcome() == Recipe(checkpoint_seconds=9.0).outcome()
    assert Recipe(learning_rate=1e-3).outcome() != Recipe(learning_rate=2e-3).outcome()


def test_ids_of_studies_without_the_wsd_schedule_are_those_they_always_had():
    """Results are found by id: an option that a study does not use must not change its ids."""
    study = tiny_study(
        model=ModelSpec(factory=TinyMLP, size_param="width", max_size=64, version="1"),
        data=DataSpec(train=train, eval=held_out, version="1"),
        loss=LossSpec(fn=torch.nn.functional.cross_entropy, version="1"),
        training=Recipe(learning_rate=3e-3, batch_tokens="0.5*sqrt(tokens)", betas=(0.9, 0.95)),
    )
    first = study_plan(study, study_size_map(study)).experiments[0]
    assert first.experiment_id == "c2e+06-width2-s0-65671d54"
    assert Recipe(decay_fraction=0.3).outcome() == Recipe().outcome()
    outcomes = [Recipe(schedule="wsd", decay_fraction=share).outcome() for share in (0.1, 0.2)]
    assert outcomes[0] != outcomes[1]
