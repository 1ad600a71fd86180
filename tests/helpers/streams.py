"""Data without a length, a model and a loss for it."""

import torch
from torch.utils.data import IterableDataset


class Stream(IterableDataset):
    """The numbers 0, 1, … as (x, x)."""

    def __init__(self, count):
        self.count = count

    def __iter__(self):
        return ((torch.tensor([float(i)]), torch.tensor(float(i))) for i in range(self.count))


class OneInput(torch.nn.Module):
    def __init__(self, width):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(width))

    def forward(self, inputs):
        return self.weight.sum() + inputs.sum(1)


def ignore_shape(outputs, targets):
    return (outputs - targets).square().mean()
