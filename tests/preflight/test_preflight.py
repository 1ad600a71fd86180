"""The preflight finds what would fail before anything is spent, all of it at once, and leaves no trace."""

import dataclasses
import math
import random
import time
import warnings

import numpy as np
import pytest
import torch
from failing_model import FailsWhenWide
from tiny_study import TinyMLP, held_out, tiny_size_map, tiny_study, train
from trunk_study import longest_trunk, plan_of, trunk_study

from flops_fit import DataSpec, LossSpec, ModelSpec, Recipe, find_optimal, load_runs
from flops_fit.errors import FlopsFitWarning, StudyError
from flops_fit.preflight.first_steps import try_experiment
from flops_fit.preflight.preflight import preflight
from flops_fit.recipe.steps import plan_steps
from flops_fit.stages import study_plan, study_size_map

PAUSE = 0.02


class Broken(TinyMLP):
    """Fails in every forward pass."""

    def forward(self, inputs):
        raise RuntimeError("shapes do not fit")


class BrokenInEvaluation(TinyMLP):
    """Trains, and fails on held-out data."""

    def forward(self, inputs):
        if not self.training:
            raise RuntimeError("no dropout mask")
        return super().forward(inputs)


class NoNumber(TinyMLP):
    """Its outputs are NaN."""

    def forward(self, inputs):
        return super().forward(inputs) * math.nan


class Hungry(TinyMLP):
    """Has memory for 16 examples at once."""

    def forward(self, inputs):
        if self.training and len(inputs) > 16:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return super().forward(inputs)


class Waits(TinyMLP):
    """Every step in training takes at least `PAUSE` seconds."""

    def forward(self, inputs):
        if self.training:
            time.sleep(PAUSE)
        return super().forward(inputs)


def study_of(model, **changes):
    return tiny_study(model=ModelSpec(factory=model, size_param="width", max_size=64), **changes)


def checked(model=TinyMLP, **changes):
    study = study_of(model, **changes)
    plan = study_plan(study, tiny_size_map())
    return preflight(study, plan), plan


def test_a_sound_study_has_no_problems_and_both_ends_are_measured():
    found, plan = checked(Waits)
    assert found.problems == ()
    sizes = [item.size_param_value for item in plan.experiments]
    assert [trial.experiment.size_param_value for trial in found.trials] == [min(sizes), max(sizes)]
    for trial in found.trials:
        assert trial.initial_loss == pytest.approx(math.log(4), abs=0.4), "four classes, nothing learnt yet"
        assert trial.seconds_per_step >= PAUSE
        assert trial.batch_examples == pytest.approx(0.5 * trial.experiment.num_tokens**0.5, abs=1)
        assert trial.memory_bytes > 16 * trial.experiment.total_params
    assert "no problems found" in found.summary()
    assert "6 experiments" in found.summary()


def test_device_hours_are_steps_times_seconds():
    found, plan = checked()
    steps = sum(round(e.num_tokens / (0.5 * e.num_tokens**0.5)) for e in plan.experiments)
    low, high = sorted(trial.seconds_per_step for trial in found.trials)
    assert 0.5 * low * steps < found.device_hours * 3600 < 3 * high * steps


def test_nothing_is_left_behind(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(1), np.random.seed(1), random.seed(1)  # noqa: NPY002
    threads = torch.get_num_threads()
    checked()
    drawn = torch.rand(1).item(), np.random.rand(), random.random()  # noqa: NPY002
    torch.manual_seed(1), np.random.seed(1), random.seed(1)  # noqa: NPY002
    assert drawn == (torch.rand(1).item(), np.random.rand(), random.random())  # noqa: NPY002
    assert torch.get_num_threads() == threads
    assert not list(tmp_path.iterdir())


def test_every_failure_of_both_sizes_is_reported_at_once():
    found, _ = checked(Broken)
    assert len(found.problems) == 4
    for stage in ("training step", "held-out step"):
        assert sum(stage in problem for problem in found.problems) == 2
    assert all("RuntimeError: shapes do not fit" in problem for problem in found.problems)
    assert found.device_hours is None
    assert "4 problems:" in found.summary()


@pytest.mark.parametrize(
    ("changes", "stage", "reason"),
    [
        ({"model": BrokenInEvaluation}, "held-out step", "no dropout mask"),
        ({"model": NoNumber}, "training step", "loss of the first batch is not finite (nan)"),
        ({"training": Recipe(learning_rate=lambda experiment: -1.0)}, "building model and optimizer", "learning_rate"),
        ({"loss": LossSpec(fn=lambda outputs, targets: outputs)}, "training step", "one number is needed"),
        ({"loss": LossSpec(fn=lambda outputs, targets: torch.nn.functional.cross_entropy(outputs, targets) - 9)},
         "held-out step", "is not above 0, and no law can be fitted to it; have the loss function add a number"),
        ({"data": DataSpec(train=train, eval=torch.utils.data.TensorDataset(torch.zeros(9, 3), torch.zeros(9).long()))},
         "held-out step", "shapes cannot be multiplied"),
    ],
)  # fmt: skip
def test_each_stage_is_tried(changes, stage, reason):
    found, _ = checked(**changes)
    assert len(found.problems) >= 2
    assert sum(f", {stage}: " in problem and reason in problem for problem in found.problems) == 2


def test_a_rate_that_is_far_too_high_is_not_the_preflights_to_find():
    assert checked(training=Recipe(learning_rate=1e30, gradient_clip=None))[0].problems == ()


def test_a_batch_that_has_to_be_split_is_no_problem():
    found, _ = checked(Hungry)
    assert found.problems == ()
    assert 8 <= found.trials[0].part_examples <= 16
    assert f"in parts of {found.trials[0].part_examples}" in found.summary()


def test_a_model_that_cannot_fit_into_this_machine_is_told_and_not_built(monkeypatch):
    monkeypatch.setattr("flops_fit.preflight.first_steps.ram_bytes", lambda: 1000.0)
    found, _ = checked()
    assert len(found.problems) == 2
    assert all("memory: out_of_memory" in problem and "has 1.00 kB" in problem for problem in found.problems)


OPTIONS = {"num_sizes_per_budget": 4, "size_values": (2, 4, 6, 9, 13, 21, 30, 42, 64), "learning_rate": 0.02}
OPTIONS |= {"device": "cpu", "workers": 1}


def whole(tmp_path, model):
    return find_optimal(
        model, "width", None, train(), torch.nn.functional.cross_entropy, [2e6, 4e6, 8e6],
        eval_dataset=held_out(), output_dir=tmp_path, progress=False, **OPTIONS,
    )  # fmt: skip


def test_a_study_that_fails_at_both_ends_is_refused_before_anything_is_spent(tmp_path):
    with pytest.raises(StudyError, match="nothing is trained") as refused:
        whole(tmp_path, Broken)
    assert str(refused.value).count("shapes do not fit") >= 4
    assert not list(tmp_path.iterdir())


def test_a_study_that_fails_at_one_end_is_warned_about_and_goes_on(tmp_path):
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        whole(tmp_path, FailsWhenWide)
    told = [str(warning.message) for warning in said if issubclass(warning.category, FlopsFitWarning)]
    assert sum("one size fails at its first steps" in text and "wide models have a bug" in text for text in told) == 1
    assert set(load_runs(tmp_path)["status"]) == {"completed", "failed"}


def test_a_plan_without_experiments_or_a_study_without_data_is_refused():
    with pytest.raises(StudyError, match="no experiments to try"):
        preflight(tiny_study(), dataclasses.replace(checked()[1], experiments=[]))
    study = tiny_study(data=None)
    with pytest.raises(StudyError, match="has no data or no loss"):
        preflight(study, study_plan(study, study_size_map(study)))


def test_what_is_only_timed_is_no_trial_unless_it_fails():
    found, plan = checked()
    steps = {item: found_steps(item) for item in plan.experiments}
    most = max(plan.experiments, key=lambda item: item.num_tokens / steps[item])
    tokens = [item.tokens for item in found.timed.timed]
    assert len(found.trials) == 2
    assert 3 <= len(tokens) <= 4, "both ends, the largest batch, and one between"
    assert max(tokens) == pytest.approx(most.num_tokens / steps[most])


def found_steps(item):
    return round(item.num_tokens / (0.5 * item.num_tokens**0.5))


class Warming(TinyMLP):
    """Slow at first, as on a machine that loads kernels; then quick."""

    def forward(self, inputs):
        self.calls = getattr(self, "calls", 0) + 1
        time.sleep(0.05 if self.calls <= 6 else 0.0)
        return super().forward(inputs)


def test_the_first_steps_tell_nothing_of_how_long_it_takes():
    found, _ = checked(Warming)
    assert max(trial.seconds_per_step for trial in found.trials) < 0.02


def test_a_step_of_a_trunk_whose_batches_grow_is_timed_at_their_mean():
    study = trunk_study()
    item = longest_trunk(plan_of(study))[-1]
    steps = plan_steps(study.training, item, 1)
    trial = try_experiment(study, item, torch.device("cpu"))
    assert not trial.problems
    assert steps.parts[0].batch < trial.batch_examples < steps.parts[-1].batch
    assert trial.batch_examples == pytest.approx(item.num_tokens / steps.steps, abs=1)
