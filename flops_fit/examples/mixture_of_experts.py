"""A small mixture of experts that predicts the next byte: two of eight experts for each; `width` is the size.

The data are those of the demo, Python's own standard library.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from flops_fit.examples.byte_mlp import CONTEXT

VOCABULARY, EXPERTS, TOP = 128, 8, 2


class ByteMixture(nn.Module):
    """Eight bytes, a hidden layer, a layer of experts, logits.

    Shapes: bytes (B, 8) int64 below 128 → logits (B, 128).
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.embed = nn.Embedding(VOCABULARY, width)
        self.hidden = nn.Linear(CONTEXT * width, 2 * width)
        self.router = nn.Linear(2 * width, EXPERTS, bias=False)
        self.experts = nn.ModuleList(
            nn.Sequential(nn.Linear(2 * width, 2 * width), nn.ReLU(), nn.Linear(2 * width, 2 * width))
            for _ in range(EXPERTS)
        )
        self.logits = nn.Linear(2 * width, VOCABULARY)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Logits of the next byte."""
        stream = functional.relu(self.hidden(self.embed(tokens).flatten(1)))  # (B, 2 width)
        return self.logits(stream + self.mixed(stream))

    def mixed(self, stream: torch.Tensor) -> torch.Tensor:
        """What the two likeliest experts of each position say, weighted by how likely they are; shapes as `stream`."""
        weights, chosen = self.router(stream).softmax(-1).topk(TOP)  # (B, 2) each
        weights = weights / weights.sum(-1, keepdim=True)
        mixed = torch.zeros_like(stream)
        for number, expert in enumerate(self.experts):
            rows, rank = (chosen == number).nonzero(as_tuple=True)
            mixed = mixed.index_add(0, rows, weights[rows, rank, None] * expert(stream[rows]))
        return mixed
