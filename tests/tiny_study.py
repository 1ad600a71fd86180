"""A study that trains in milliseconds, importable in worker processes."""

import functools

import torch
from torch.utils.data import TensorDataset

from flops_fit import DataSpec, Hardware, LossSpec, ModelSpec, Recipe, Study, SweepOptions

FEATURES, CLASSES = 6, 4


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
        "training": Recipe(learning_rate=0.02, weight_decay=0.0),
        "hardware": Hardware(device="cpu", workers=2),
    }
    return Study(**sections | changes)
