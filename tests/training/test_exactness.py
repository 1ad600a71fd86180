"""Thirty experiments of two studies spend exactly what was planned: tokens, FLOPs, and no example twice.

FLOPs are counted by torch's own `FlopCounterMode` around every real training step, tokens by the dataset that serves
them; neither shares code with what planned and reported them.
"""

import dataclasses

import pytest
from torch.utils.data import Dataset, Subset
from torch.utils.flop_counter import FlopCounterMode

import flops_fit.training.loop as training_loop
from flops_fit import DataSpec, Hardware, LossSpec, ModelSpec, Recipe, Study, SweepOptions, run_experiment
from flops_fit.examples import byte_mlp, stdlib_corpus, tiny_gpt, vision
from flops_fit.loss import cross_entropy
from flops_fit.stages import study_plan, study_size_map


class Served(Dataset):
    """The first examples of a `TensorDataset`, which writes down which were asked for."""

    def __init__(self, dataset, count):
        self.dataset, self.count, self.indices = dataset, count, []

    def __len__(self):
        return self.count

    def __getitem__(self, index):
        raise AssertionError("batches are asked for whole")

    def __getitems__(self, indices):
        self.indices += indices
        return list(zip(*(tensor[indices].unbind() for tensor in self.dataset.tensors), strict=True))


def study_of(factory, train, held_out, count, **sweep):
    served = Served(train, count)
    return Study(
        name="exact",
        model=ModelSpec(factory=factory, size_param="width", max_size=256, flops="measured"),
        data=DataSpec(train=served, eval=Subset(held_out, range(50)), version="exact"),
        loss=LossSpec(fn=cross_entropy),
        sweep=SweepOptions(**sweep),
        training=Recipe(learning_rate=1e-3, batch_tokens="12*sqrt(tokens)"),
        hardware=Hardware(device="cpu"),
    ), served


def bytes_study():
    budgets = {"compute_budgets": (1.5e8, 3e8, 6e8), "num_sizes_per_budget": 5, "span": 4.0}
    budgets |= {"tokens_per_param": 0.5, "min_tokens_per_param": 0.01}
    train, held_out = stdlib_corpus.train_dataset(), stdlib_corpus.held_out_dataset()
    return study_of(byte_mlp.ByteMLP, train, held_out, 200_000, **budgets)


def images_study():
    budgets = {"compute_budgets": (1e8, 2e8, 4e8), "num_sizes_per_budget": 5, "span": 4.0, "tokens_per_param": 2.0}
    train, held_out = vision._images(20_000, seed=1), vision._images(1000, seed=2)
    return study_of(vision.build, train, held_out, 20_000, **budgets)


@pytest.fixture
def counted(monkeypatch):
    """FLOPs of every training step since the list was last cleared, by torch's counter."""
    flops, step = [], training_loop.TrainingLoop._step

    def counting(self, batch, rate):
        with FlopCounterMode(display=False) as counter:
            loss = step(self, batch, rate)
        flops.append(counter.get_total_flops())
        return loss

    monkeypatch.setattr(training_loop.TrainingLoop, "_step", counting)
    return flops


@pytest.mark.slow
@pytest.mark.parametrize("make", [bytes_study, images_study])
def test_tokens_and_flops_planned_are_those_trained_and_no_example_comes_twice(make, tmp_path, counted):
    study, served = make()
    plan = study_plan(study, study_size_map(study))
    assert plan.num_experiments == 15, plan.dropped
    for experiment in plan.experiments:
        served.indices.clear(), counted.clear()
        result = run_experiment(study, experiment, output_dir=tmp_path)
        assert result.status == "completed", result.reason
        assert len(served.indices) == result.num_tokens == experiment.num_tokens
        assert len(set(served.indices)) == len(served.indices)
        assert max(served.indices) < len(served)
        assert len(counted) == result.steps
        assert sum(counted) == pytest.approx(result.flops, rel=2e-3)
        assert result.flops == pytest.approx(experiment.planned_flops, rel=1e-12)
        assert result.flops == pytest.approx(experiment.compute_budget, rel=0.02)


def order(study, served, experiment, folder):
    _ = study.prepared_data  # looks at the first example
    served.indices.clear()
    run_experiment(study, experiment, output_dir=folder)
    return list(served.indices)


def test_the_order_is_fixed_by_the_seeds_and_by_nothing_else(tmp_path):
    study, served = images_study()
    small, *_, large = sorted(study_plan(study, study_size_map(study)).experiments, key=lambda item: item.num_tokens)
    first = order(study, served, large, tmp_path / "first")
    assert order(study, served, large, tmp_path / "again") == first
    assert order(study, served, small, tmp_path / "small") == first[: small.num_tokens], "another size, the same data"
    reseeded = dataclasses.replace(large, seed=1)
    assert order(study, served, reseeded, tmp_path / "seed") != first
    other_recipe = dataclasses.replace(study, training=dataclasses.replace(study.training, seed=1))
    of_any_study = dataclasses.replace(large, outcome_fingerprint="")
    assert order(other_recipe, served, of_any_study, tmp_path / "recipe") != first


def test_every_epoch_is_complete_before_an_example_comes_again(tmp_path):
    study, served = images_study()
    experiment = study_plan(study, study_size_map(study)).experiments[0]
    served.count = 100
    repeating = dataclasses.replace(study, sweep=SweepOptions(compute_budgets=(1e8,), max_epochs=3.0))
    asked = order(repeating, served, dataclasses.replace(experiment, num_tokens=250, tokens_per_param=None), tmp_path)
    assert sorted(asked[:100]) == sorted(asked[100:200]) == list(range(100))
    assert asked[:100] != asked[100:200]
    assert len(set(asked[200:])) == 50


def test_sequences_are_counted_in_tokens(tmp_path):
    """64 tokens an example: what is planned is a whole number of examples, and that many are served."""
    sweep = {"compute_budgets": (2e9,), "num_sizes_per_budget": 3}
    study, served = study_of(tiny_gpt.TinyGPT, tiny_gpt.train_dataset(), tiny_gpt.held_out_dataset(), 20_000, **sweep)
    study = dataclasses.replace(
        study, model=dataclasses.replace(study.model, kwargs={"num_layers": 1}, size_values=(16, 32, 48))
    )
    experiment = min(study_plan(study, study_size_map(study)).experiments, key=lambda item: item.num_tokens)
    served.indices.clear()
    result = run_experiment(study, experiment, output_dir=tmp_path)
    assert result.status == "completed", result.reason
    assert 64 * len(served.indices) == result.num_tokens == experiment.num_tokens
    assert len(set(served.indices)) == len(served.indices)
