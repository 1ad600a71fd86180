"""A training spends what was planned, resumes to the bit, and its failures are data."""

import dataclasses
import json
import math
import random

import numpy as np
import pytest
import torch
from streams import OneInput, Stream, ignore_shape
from tiny_study import TinyMLP, experiment, held_out, tiny_study, train
from torch.utils.data import Dataset, TensorDataset

import flops_fit.training.loop as training_loop
from flops_fit import DataSpec, LossSpec, ModelSpec, Recipe, SweepOptions, run_experiment
from flops_fit.errors import DataError, FlopsFitWarning
from flops_fit.recipe.steps import Steps, plan_steps
from flops_fit.results.results import ExperimentResult
from flops_fit.training.optimizer import make_optimizer


class Recording(Dataset):
    """Passes on the tiny study's examples and writes down which were asked for."""

    def __init__(self, count):
        self.inputs, self.targets = train().tensors
        self.count, self.asked = count, []

    def __len__(self):
        return self.count

    def __getitem__(self, index):
        self.asked.append(index)
        return self.inputs[index], self.targets[index]


def study_on(dataset, **changes):
    return tiny_study(data=DataSpec(train=dataset, eval=held_out(), tokens_per_example=1, version="test"), **changes)


@pytest.mark.parametrize("num_tokens", [1, 7, 1000, 4321])
def test_the_tokens_planned_are_the_tokens_trained_without_repeats(tmp_path, num_tokens):
    dataset = Recording(5000)
    result = run_experiment(study_on(dataset), experiment(num_tokens), output_dir=tmp_path)
    assert result.status == "completed", result.reason
    assert len(dataset.asked) == result.num_tokens == num_tokens
    assert len(set(dataset.asked)) == num_tokens
    assert result.flops == pytest.approx(experiment(num_tokens).planned_flops)
    assert result.epochs == pytest.approx(num_tokens / 5000)


@pytest.mark.parametrize(("examples", "steps"), [(1, 1), (10, 3), (1000, 7), (999, 999)])
def test_steps_differ_by_one_example_at_most_and_leave_nothing_over(examples, steps):
    plan = Steps(examples=examples, steps=steps)
    sizes = [plan.end(step + 1) - plan.end(step) for step in range(steps)]
    assert sum(sizes) == examples
    assert max(sizes) - min(sizes) <= 1
    assert 0 < plan.progress(0) < plan.progress(steps - 1) + 1e-12 < 1


def test_batch_rule_decides_the_number_of_steps():
    assert plan_steps(Recipe(batch_tokens="0.5*sqrt(tokens)"), experiment(10_000), 1).steps == 200
    assert plan_steps(Recipe(batch_tokens=64), experiment(6400), 16).steps == 100
    with pytest.raises(DataError, match="less than one example of 16"):
        plan_steps(Recipe(), experiment(15), 16)


def test_the_same_experiment_gives_the_same_loss_and_another_seed_another(tmp_path):
    losses = [
        run_experiment(tiny_study(), experiment(seed=seed), output_dir=tmp_path / str(run)).loss
        for run, seed in enumerate([0, 0, 1])
    ]
    assert losses[0] == losses[1] != losses[2]


def test_held_out_loss_is_the_mean_over_all_held_out_examples_whatever_the_batch(tmp_path):
    losses = [
        run_experiment(
            tiny_study(training=Recipe(eval_batch_examples=size)), experiment(), output_dir=tmp_path / str(size)
        ).loss
        for size in (7, 1999, 5000)
    ]
    assert losses == pytest.approx([losses[0]] * 3, rel=1e-6)
    assert losses[0] < math.log(4)


def test_the_callers_random_state_is_left_alone(tmp_path):
    torch.manual_seed(1), np.random.seed(1), random.seed(1)  # noqa: NPY002
    run_experiment(tiny_study(), experiment(), output_dir=tmp_path)
    drawn = torch.rand(1).item(), np.random.rand(), random.random()  # noqa: NPY002
    torch.manual_seed(1), np.random.seed(1), random.seed(1)  # noqa: NPY002
    assert drawn == (torch.rand(1).item(), np.random.rand(), random.random())  # noqa: NPY002


class Killed(BaseException):
    """Stands in for a kill: nothing catches it, so nothing is tidied up."""


@pytest.mark.parametrize("kill_points", [[1], [60], [107], [25, 80]])
def test_a_killed_training_resumes_to_the_bit(tmp_path, monkeypatch, kill_points):
    study = tiny_study(
        model=ModelSpec(factory=TinyMLP, size_param="width", kwargs={"dropout": 0.2}),
        training=Recipe(learning_rate=0.02, checkpoint_seconds=0.0),
    )
    weights = []
    evaluate = training_loop.held_out_loss

    def remember(model, *rest):
        weights.append([parameter.detach().clone() for parameter in model.parameters()])
        return evaluate(model, *rest)

    monkeypatch.setattr(training_loop, "held_out_loss", remember)
    whole = run_experiment(study, experiment(), output_dir=tmp_path / "whole")
    steps_taken = 0
    step = training_loop.TrainingLoop._step

    def counted(self, batch, rate):
        nonlocal steps_taken
        if pending and self.progress.step >= pending[0]:
            pending.pop(0)
            raise Killed
        steps_taken += 1
        return step(self, batch, rate)

    monkeypatch.setattr(training_loop.TrainingLoop, "_step", counted)
    pending = list(kill_points)
    for _ in kill_points:
        with pytest.raises(Killed):
            run_experiment(study, experiment(), output_dir=tmp_path / "killed")
    resumed = run_experiment(study, experiment(), output_dir=tmp_path / "killed")
    assert resumed.loss == whole.loss
    assert resumed.train_loss == whole.train_loss
    assert all(torch.equal(one, other) for one, other in zip(*weights, strict=True))
    assert steps_taken == whole.steps, "steps before the checkpoint were repeated"
    lines = (tmp_path / "killed" / whole.experiment_id / "log.jsonl").read_text().splitlines()
    log = [json.loads(line)["step"] for line in lines]
    assert log == sorted(set(log))


def test_a_torn_checkpoint_is_set_aside_and_the_training_starts_again(tmp_path):
    whole = run_experiment(tiny_study(), experiment(), output_dir=tmp_path / "whole")
    directory = tmp_path / "torn" / whole.experiment_id
    directory.mkdir(parents=True)
    (directory / "checkpoint.safetensors").write_bytes(b"\x08\x00\x00\x00")
    with pytest.warns(FlopsFitWarning, match="is torn"):
        again = run_experiment(tiny_study(), experiment(), output_dir=tmp_path / "torn")
    assert again.loss == whole.loss
    assert (directory / "checkpoint.safetensors.unusable").exists()


def test_a_finished_experiment_is_not_trained_again(tmp_path):
    dataset = Recording(5000)
    first = run_experiment(study_on(dataset), experiment(500), output_dir=tmp_path)
    again = run_experiment(study_on(dataset), experiment(500), output_dir=tmp_path)
    assert again == first
    assert len(dataset.asked) == 500
    assert not list((tmp_path / first.experiment_id).glob("checkpoint*"))


def test_a_torn_or_foreign_result_is_set_aside_and_trained_again(tmp_path):
    first = run_experiment(tiny_study(), experiment(500), output_dir=tmp_path)
    path = tmp_path / first.experiment_id / "result.json"
    path.write_text(path.read_text()[:50])
    with pytest.warns(FlopsFitWarning, match="torn"):
        assert run_experiment(tiny_study(), experiment(500), output_dir=tmp_path).loss == first.loss
    dataclasses.replace(first, experiment_id="another").save(path)
    with pytest.warns(FlopsFitWarning, match="is the result of another"):
        assert run_experiment(tiny_study(), experiment(500), output_dir=tmp_path).loss == first.loss


def test_a_loss_that_is_not_finite_is_diverged_never_completed(tmp_path):
    study = tiny_study(training=Recipe(learning_rate=1e30, gradient_clip=None))
    result = run_experiment(study, experiment(), output_dir=tmp_path)
    assert result.status == "diverged"
    assert result.loss is None
    assert "last finite one was" in result.reason
    assert 0 < result.num_tokens < 3000
    assert result.flops == result.num_tokens * result.flops_per_token
    assert ExperimentResult.load(tmp_path / result.experiment_id / "result.json") == result


class Broken(TinyMLP):
    def forward(self, inputs):
        raise RuntimeError("shapes do not fit")


class OneNaN(TinyMLP):
    """Fine in training, NaN in evaluation."""

    def forward(self, inputs):
        return super().forward(inputs) * (1.0 if self.training else math.nan)


def test_an_error_in_the_model_is_a_failed_result_that_is_tried_again(tmp_path):
    study = tiny_study(model=ModelSpec(factory=Broken, size_param="width"))
    result = run_experiment(study, experiment(), output_dir=tmp_path)
    assert result.status == "failed"
    assert "RuntimeError: shapes do not fit" in result.reason
    assert "in forward" in result.reason
    assert run_experiment(tiny_study(), experiment(), output_dir=tmp_path).status == "completed"


def test_a_held_out_loss_that_is_not_finite_is_diverged(tmp_path):
    study = tiny_study(model=ModelSpec(factory=OneNaN, size_param="width"))
    assert run_experiment(study, experiment(), output_dir=tmp_path).status == "diverged"


def test_more_tokens_than_the_data_has_are_refused_unless_allowed(tmp_path):
    small = TensorDataset(*(tensor[:1000] for tensor in train().tensors))
    once = SweepOptions(compute_budgets=(1e6,), max_epochs=1.0)
    refused = run_experiment(study_on(small, sweep=once), experiment(1500), output_dir=tmp_path)
    assert refused.status == "out_of_data"
    assert "1.50 epochs of 1,000" in refused.reason
    sweep = SweepOptions(compute_budgets=(1e6,), max_epochs=2.0)
    allowed = run_experiment(study_on(small, sweep=sweep), experiment(1500), output_dir=tmp_path)
    assert allowed.status == "completed"
    assert allowed.epochs == pytest.approx(1.5)


class Hungry(TinyMLP):
    """Runs out of memory on more than 16 examples at once in training; of everything where `always`."""

    always = False
    largest = 0

    def forward(self, inputs):
        if self.training and (self.always or len(inputs) > 16):
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        Hungry.largest = max(Hungry.largest, len(inputs) if self.training else 0)
        return super().forward(inputs)


class Starved(Hungry):
    always = True


def test_a_batch_that_does_not_fit_is_split_without_changing_the_result(tmp_path):
    whole = run_experiment(tiny_study(), experiment(), output_dir=tmp_path / "whole")
    assert whole.batch_examples > 20
    study = tiny_study(model=ModelSpec(factory=Hungry, size_param="width"))
    parts = run_experiment(study, experiment(), output_dir=tmp_path / "parts")
    assert parts.status == "completed", parts.reason
    assert 8 < Hungry.largest <= 16
    assert parts.steps == whole.steps
    assert parts.loss == pytest.approx(whole.loss, abs=2e-4)


def test_no_memory_for_a_single_example_is_a_status(tmp_path):
    study = tiny_study(model=ModelSpec(factory=Starved, size_param="width"))
    result = run_experiment(study, experiment(), output_dir=tmp_path)
    assert result.status == "out_of_memory"
    assert "Tried to allocate 2.00 GiB" in result.reason


def test_a_stream_that_ends_too_early_is_out_of_data(tmp_path):

    data = DataSpec(train=Stream(100), eval=held_out(), tokens_per_example=1, version="test")
    study = tiny_study(data=data, model=ModelSpec(factory=OneInput, size_param="width"), loss=LossSpec(fn=ignore_shape))
    result = run_experiment(study, experiment(), output_dir=tmp_path)
    assert result.status == "out_of_data"
    assert "ended after 100 examples" in result.reason


def test_a_training_that_takes_too_long_stops_and_goes_on_later_to_the_same_result(tmp_path):
    whole = run_experiment(tiny_study(), experiment(), output_dir=tmp_path / "whole")
    hurried = tiny_study(training=dataclasses.replace(tiny_study().training, timeout_seconds=1e-9))
    stopped = run_experiment(hurried, experiment(), output_dir=tmp_path / "late")
    assert stopped.status == "timed_out"
    assert "step 1 of" in stopped.reason
    assert not stopped.is_final
    resumed = run_experiment(tiny_study(), experiment(), output_dir=tmp_path / "late")
    assert resumed.weights_sha256 == whole.weights_sha256


def test_a_full_disk_is_a_status_and_leaves_no_torn_file(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    study = tiny_study(training=Recipe(learning_rate=0.02, checkpoint_seconds=0.0))
    monkeypatch.setattr("flops_fit.training.checkpoint.write_bytes", full)
    result = run_experiment(study, experiment(), output_dir=tmp_path)
    assert result.status == "disk_full"
    monkeypatch.undo()
    assert run_experiment(study, experiment(), output_dir=tmp_path).status == "completed"


def test_weight_decay_applies_to_matrices_only():
    optimizer = make_optimizer(TinyMLP(4), Recipe(weight_decay=0.3, betas=(0.9, 0.95)), torch.device("cpu"), 0.01)
    decays = {parameter.ndim: group["weight_decay"] for group in optimizer.groups for parameter in group["params"]}
    assert decays == {2: 0.3, 1: 0.0}


def test_progress_is_reported_and_ends_at_the_last_step(tmp_path):
    events = []
    result = run_experiment(tiny_study(), experiment(), output_dir=tmp_path, on_log=events.append)
    last, ending = events[-2:]
    assert last["step"] == last["steps"] == result.steps
    assert last["tokens"] == result.num_tokens
    assert math.isfinite(last["loss"])
    assert (ending["status"], ending["held_out_loss"]) == ("completed", result.loss)


def test_training_learns(tmp_path):
    short = run_experiment(tiny_study(), experiment(500), output_dir=tmp_path)
    long = run_experiment(tiny_study(), experiment(30_000, name="long"), output_dir=tmp_path)
    assert long.loss < short.loss - 0.1


def test_a_loss_class_is_refused_before_training(tmp_path):
    with pytest.raises(TypeError, match=r"give CrossEntropyLoss\(\)"):
        run_experiment(tiny_study(loss=LossSpec(fn=torch.nn.CrossEntropyLoss)), experiment(), output_dir=tmp_path)
