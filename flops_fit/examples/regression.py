"""Regression on numbers: what a network drawn at random makes of its input, under noise; `width` is the size.

The noise is normal with a standard deviation of 0.3, so no model's mean squared error is below 0.09 on average: a lower
bound for the law's E that is known. One unit of data (a "token" of the study) is an example.
"""

from __future__ import annotations

import functools

import torch
from torch import nn
from torch.utils.data import TensorDataset

INPUTS, TEACHER_WIDTH, NOISE = 16, 64, 0.3
EXAMPLES, HELD_OUT_EXAMPLES = 3_000_000, 16_384


class Regressor(nn.Module):
    """Two hidden layers.

    Shapes: (B, 16) → (B,).
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(INPUTS, width), nn.Tanh(), nn.Linear(width, width), nn.Tanh(), nn.Linear(width, 1)
        )

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """The predicted number."""
        return self.layers(inputs).squeeze(-1)


def squared_error(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Mean squared error; (B,) and (B,) → ()."""
    return (outputs - targets).square().mean()


def train_dataset() -> TensorDataset:
    """Three million examples."""
    return _examples(EXAMPLES, seed=1)


def held_out_dataset() -> TensorDataset:
    """16,384 others."""
    return _examples(HELD_OUT_EXAMPLES, seed=2)


@functools.cache
def _examples(count: int, seed: int) -> TensorDataset:
    chance = torch.Generator().manual_seed(seed)
    inputs = torch.randn(count, INPUTS, generator=chance)
    targets = _teacher(inputs) + NOISE * torch.randn(count, generator=chance)
    dataset = TensorDataset(inputs, targets)
    dataset.fingerprint = f"teacher 1 {count} {seed}"  # type: ignore[attr-defined]
    return dataset


def _teacher(inputs: torch.Tensor) -> torch.Tensor:
    """What is to be learned: (B, 16) → (B,), of variance about 1."""
    chance = torch.Generator().manual_seed(0)
    first = torch.randn(INPUTS, TEACHER_WIDTH, generator=chance) / INPUTS**0.5
    second = torch.randn(TEACHER_WIDTH, generator=chance) / TEACHER_WIDTH**0.5
    return 2 * torch.sin(1.5 * inputs @ first) @ second
