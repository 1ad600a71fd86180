"""A masked language model, small: bytes that are hidden are told from those around them; `width` is the size.

Of each example of 32 bytes about 15 % are hidden, always the same ones. Those alone are targets: the rest is -100,
which the loss leaves out, and which no token is counted for.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import nn
from torch.nn import functional
from torch.utils.data import TensorDataset

from flops_fit.examples.stdlib_corpus import HELD_OUT_BYTES, corpus_hash, read_corpus

LENGTH, HIDDEN_SHARE = 32, 0.15
VOCABULARY = 128
HIDDEN = VOCABULARY  # the id in place of a hidden byte
NO_TARGET = -100


class FillIn(nn.Module):
    """Convolutions over the bytes on both sides.

    Shapes: ids (B, 32) int64, 128 where hidden → logits (B, 32, 128).
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.embed = nn.Embedding(VOCABULARY + 1, width)
        self.near = nn.Conv1d(width, 2 * width, kernel_size=9, padding=4)
        self.far = nn.Conv1d(2 * width, 2 * width, kernel_size=5, padding=2)
        self.logits = nn.Linear(2 * width, VOCABULARY)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        """Logits of the byte at every position."""
        stream = functional.relu(self.near(self.embed(ids).transpose(1, 2)))  # (B, 2 width, 32)
        stream = stream + functional.relu(self.far(stream))
        return self.logits(stream.transpose(1, 2))


def train_dataset() -> TensorDataset:
    """All of the corpus but its end: ids with some hidden, and targets at these."""
    return _hidden(read_corpus()[:-HELD_OUT_BYTES], "train", seed=1)


def held_out_dataset() -> TensorDataset:
    """The last 131,072 bytes, likewise."""
    return _hidden(read_corpus()[-HELD_OUT_BYTES:], "held-out", seed=2)


def _hidden(text: bytes, part: str, seed: int) -> TensorDataset:
    count = len(text) // LENGTH
    ids = torch.from_numpy(np.frombuffer(text, dtype=np.uint8).astype(np.int64))[: count * LENGTH].view(count, LENGTH)
    hidden = torch.from_numpy(np.random.default_rng(seed).random((count, LENGTH)) < HIDDEN_SHARE)
    dataset = TensorDataset(ids.masked_fill(hidden, HIDDEN), ids.masked_fill(~hidden, NO_TARGET))
    dataset.fingerprint = f"masked stdlib 1 {part} {corpus_hash()}"  # type: ignore[attr-defined]
    return dataset
