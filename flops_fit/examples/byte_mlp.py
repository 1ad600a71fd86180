"""The demo's model: a residual MLP that predicts the next byte from the eight before it."""

from __future__ import annotations

import torch
from torch import nn

CONTEXT = 8
VOCABULARY = 128


class ByteMLP(nn.Module):
    """Embedding, a hidden layer, a residual layer, logits; `width` is the size.

    Shapes: bytes (B, 8) int64 below 128 → logits (B, 128).
    """

    def __init__(self, width: int, embedding: int = 16) -> None:
        super().__init__()
        self.embed = nn.Embedding(VOCABULARY, embedding)
        self.hidden = nn.Linear(CONTEXT * embedding, width)
        self.residual = nn.Linear(width, width)
        self.logits = nn.Linear(width, VOCABULARY)

    def forward(self, context: torch.Tensor) -> torch.Tensor:
        """Logits of the next byte."""
        embedded = self.embed(context).flatten(1)  # (B, 8 * embedding)
        hidden = torch.relu(self.hidden(embedded))  # (B, width)
        hidden = hidden + torch.relu(self.residual(hidden))
        return self.logits(hidden)  # (B, 128)
