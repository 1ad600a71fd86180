"""A study that trains in milliseconds, importable in worker processes."""

import functools

import torch
from torch.utils.data import TensorDataset

from flops_fit import DataSpec, Experiment, Hardware, LossSpec, ModelSpec, Recipe, Study, SweepOptions
from flops_fit.stages import study_size_map

FEATURES, CLASSES = 6, 4
OPTIONS = {
    "num_sizes_per_budget": 4,
    "size_values": (2, 4, 5, 7, 9, 13, 18, 24, 29, 43, 58, 78, 95, 141, 190, 256),
    "learning_rate": 0.02,
    "weight_decay": 0.0,
    "device": "cpu",
}  # of `find_optimal`
OPTIONS |= {"workers": 1, "progress": False}


class TinyMLP(torch.nn.Module):
    """features → width → classes."""

    def __init__(self, width, dropout=0.0):
        super().__init__()
        self.layers = torch.nn.Sequential(
            torch.nn.Linear(FEATURES, width),
            torch.nn.Tanh(),
            torch.nn.Dropout(dropout),
            torch.nn.Linear(width, CLASSES),
        )

    def forward(self, inputs):
        return self.layers(inputs)


@functools.cache
def examples(count=60_000, seed=0):
    """Labels by a fixed random network of the inputs, so that larger students do better."""
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randn(count, FEATURES, generator=generator)
    first = torch.randn(FEATURES, 24, generator=torch.Generator().manual_seed(99))
    second = torch.randn(24, CLASSES, generator=torch.Generator().manual_seed(98))
    return TensorDataset(inputs, (torch.tanh(inputs @ first) @ second).argmax(1))


def train():
    return examples()


def held_out():
    return examples(2000, seed=1)


def tiny_study(**changes):
    """The study with sections replaced: `tiny_study(training=Recipe(...))`."""
    sections = {
        "name": "tiny",
        "model": ModelSpec(factory=TinyMLP, size_param="width", max_size=64),
        "data": DataSpec(train=train, eval=held_out),
        "loss": LossSpec(fn=torch.nn.functional.cross_entropy),
        "sweep": SweepOptions(compute_budgets=(2e6, 4e6), num_sizes_per_budget=3),
        "training": Recipe(learning_rate=0.02, batch_tokens="0.5*sqrt(tokens)", weight_decay=0.0),
        "hardware": Hardware(device="cpu", workers=2),
    }
    return Study(**sections | changes)


@functools.cache
def tiny_size_map():
    """That of every tiny study with this model, data and loss: it knows neither budgets nor recipe."""
    return study_size_map(tiny_study())


def experiment(num_tokens=3000, width=8, seed=0, name="c1e+06-width8-s0-00000000"):
    """One training of the tiny study, by hand."""
    params = (6 + 1) * width + (width + 1) * 4
    return Experiment(
        experiment_id=name,
        compute_budget=6.0 * params * num_tokens,
        size_param="width",
        size_param_value=width,
        num_params=params,
        num_tokens=num_tokens,
        flops_per_token=6.0 * params,
        seed=seed,
    )


def long_study(**recipe):
    """A checkpoint after every step, so that most kills hit one that is being written."""
    return tiny_study(
        model=ModelSpec(factory=TinyMLP, size_param="width", kwargs={"dropout": 0.2}),
        training=Recipe(**{"learning_rate": 0.02, "checkpoint_seconds": 0.0, "batch_tokens": 64} | recipe),
    )


def long_experiment():
    """A training of many steps, for those who kill it."""
    return experiment(num_tokens=10_000, width=16)
