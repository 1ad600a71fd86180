"""Models of several arguments, taken one by one or in a config, importable in worker processes."""

import itertools
from dataclasses import dataclass
from typing import ClassVar

import torch
from tiny_study import CLASSES, FEATURES
from torch import nn


class PlainStack(nn.Module):
    """features → width → `depth` times (hidden → width) → classes, no biases; width must be a multiple of heads."""

    def __init__(self, width, depth=2, hidden=16, heads=1):
        super().__init__()
        if width % heads:
            raise ValueError(f"width {width} is no multiple of {heads} heads")
        self.embed = nn.Linear(FEATURES, width, bias=False)
        self.ups = nn.ModuleList(nn.Linear(width, hidden, bias=False) for _ in range(depth))
        self.downs = nn.ModuleList(nn.Linear(hidden, width, bias=False) for _ in range(depth))
        self.head = nn.Linear(width, CLASSES, bias=False)

    def forward(self, inputs):
        stream = self.embed(inputs)
        for up, down in zip(self.ups, self.downs, strict=True):
            stream = stream + down(torch.tanh(up(stream)))
        return self.head(stream)


def stack_params(width, depth=2, hidden=16):
    """N of `PlainStack`, by hand."""
    return (FEATURES + CLASSES) * width + depth * 2 * width * hidden


@dataclass
class StackConfig:
    n_layer: int = 2
    n_embd: int = 8
    n_hidden: int = 16
    n_head: int = 1


class Stack(PlainStack):
    """`PlainStack` of a config, as nanoGPT's model is."""

    def __init__(self, config):
        super().__init__(config.n_embd, config.n_layer, config.n_hidden, config.n_head)


class LooseConfig(StackConfig):
    """Takes and keeps any other argument, and knows some by another name, as Hugging Face's configs do."""

    attribute_map: ClassVar = {"num_layers": "n_layer"}

    def __init__(self, n_layer=2, n_embd=8, n_hidden=16, **others):
        super().__init__(others.pop("num_layers", n_layer), n_embd, n_hidden)
        self.__dict__.update(others)


class Stages(nn.Module):
    """Widths of stages as a list, as of a convolutional network: N = 6·w1 + w1·w2 + … + 4·wn."""

    def __init__(self, widths, activation="tanh"):
        super().__init__()
        sizes = [FEATURES, *widths, CLASSES]
        self.layers = nn.ModuleList(nn.Linear(i, o, bias=False) for i, o in itertools.pairwise(sizes))
        self.activation = getattr(torch, activation)

    def forward(self, inputs):
        for layer in self.layers[:-1]:
            inputs = self.activation(layer(inputs))
        return self.layers[-1](inputs)
