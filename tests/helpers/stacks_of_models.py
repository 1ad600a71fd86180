"""Models and data for trainings at once: some that can be, some that cannot."""

import os

import torch
from tiny_study import CLASSES, FEATURES, TinyMLP, examples
from torch import nn
from torch.utils.data import Dataset


class Tied(nn.Module):
    """One matrix under two names."""

    def __init__(self, width):
        super().__init__()
        self.first, self.second = nn.Linear(FEATURES, FEATURES), nn.Linear(FEATURES, FEATURES)
        self.second.weight = self.first.weight
        self.frozen = nn.Parameter(torch.randn(FEATURES), requires_grad=False)
        self.last = TinyMLP(width)

    def forward(self, inputs):
        return self.last(self.second(torch.tanh(self.first(inputs))) + self.frozen)


class Batchnormed(nn.Module):
    """Changes buffers as it trains, and uses them when it is evaluated."""

    def __init__(self, width):
        super().__init__()
        self.norm, self.rest = nn.BatchNorm1d(FEATURES), TinyMLP(width)

    def forward(self, inputs):
        return self.rest(self.norm(inputs))


class OwnLoss(nn.Module):
    """Computes its own loss."""

    def __init__(self, width):
        super().__init__()
        self.rest = TinyMLP(width)

    def forward(self, inputs, labels):
        return {"loss": nn.functional.cross_entropy(self.rest(inputs), labels)}


class Conditional(TinyMLP):
    """What it does depends on the data."""

    def forward(self, inputs):
        return super().forward(inputs if inputs.sum() > 0 else 2 * inputs)


class Unused(TinyMLP):
    """Has a layer that it does not use."""

    def __init__(self, width):
        super().__init__(width)
        self.spare = nn.Linear(2, 2)


class Counting(TinyMLP):
    """Counts how often all models of this class were called, and is another each time."""

    calls = 0

    def forward(self, inputs):
        Counting.calls += 1
        return super().forward(inputs) * (1 + 0.1 * (Counting.calls % 7))


class Exact(TinyMLP):
    """In float64."""

    def __init__(self, width):
        super().__init__(width)
        self.double()

    def forward(self, inputs):
        return super().forward(inputs.double())


class ExactCNN(nn.Module):
    """In float64, with running statistics, and with a kink at which float32's rounding decides."""

    def __init__(self, width):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv1d(1, width, 3),
            nn.BatchNorm1d(width),
            nn.LeakyReLU(),
            nn.Flatten(),
            nn.Linear(width * (FEATURES - 2), CLASSES),
        ).double()

    def forward(self, inputs):
        return self.layers(inputs[:, None].double())


class Late(TinyMLP):
    """Counts its own calls, and is another model after more than a trial has."""

    def __init__(self, width):
        super().__init__(width)
        self.calls = 0

    def forward(self, inputs):
        self.calls += 1
        return super().forward(inputs) * (1 if self.calls <= 100 else 2)


class Unsaved(TinyMLP):
    """Subtracts a mean of what it has seen, which is in no checkpoint."""

    def __init__(self, width):
        super().__init__(width)
        self.register_buffer("seen", torch.zeros(FEATURES), persistent=False)

    def forward(self, inputs):
        if self.training:
            self.seen.mul_(0.9).add_(inputs.mean(0), alpha=0.1)
        return super().forward(inputs - self.seen)


class Remembering(TinyMLP):
    """As `Unsaved`, in an attribute."""

    def __init__(self, width):
        super().__init__(width)
        self.seen = [torch.zeros(FEATURES)]

    def forward(self, inputs):
        self.seen[0] = 0.9 * self.seen[0] + 0.1 * inputs.mean(0)
        return super().forward(inputs - self.seen[0])


class Normalised:
    """A loss that divides by its own mean of all calls so far."""

    def __init__(self):
        self.mean = None

    def __call__(self, outputs, targets):
        loss = nn.functional.cross_entropy(outputs, targets)
        self.mean = loss.detach() if self.mean is None else 0.9 * self.mean + 0.1 * loss.detach()
        return loss / self.mean


class Reading(TinyMLP):
    """Is given text, of which it makes nothing."""

    def forward(self, inputs, text=None):
        return super().forward(inputs)


class Deadly(TinyMLP):
    """Ends its process where it is trained together with others."""

    def forward(self, inputs):
        if torch._C._functorch.is_batchedtensor(inputs):
            os._exit(3)
        return super().forward(inputs)


class _Examples(Dataset):
    def __init__(self, count, noise):
        self.count, self.noise = count, noise

    def __len__(self):
        return self.count

    def __getitem__(self, at):
        inputs, label = examples()[at]
        return inputs + (self.noise * torch.randn(FEATURES) if self.noise else 0.0), label


def noisy_examples(count, noise):
    return _Examples(count, noise)


class _WithText(_Examples):
    def __getitem__(self, at):
        inputs, label = super().__getitem__(at)
        return {"inputs": inputs, "text": "a"}, label


def with_text():
    return _WithText(60_000, 0.0)


def of_two_lengths(limit, items):
    """Batches that hold less than `limit` in all have every example twice: other rows, and the same mean loss."""
    inputs, labels = torch.stack([item[0] for item in items]), torch.stack([item[1] for item in items])
    if inputs.sum() < limit:
        inputs, labels = torch.cat([inputs, inputs]), torch.cat([labels, labels])
    return {"inputs": inputs, "labels": labels}
