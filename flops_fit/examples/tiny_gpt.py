"""A small GPT on the standard library's bytes: RMSNorm, rotary positions, causal attention; `width` is the size."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn
from torch.nn import functional
from torch.utils.data import TensorDataset

from flops_fit.examples.stdlib_corpus import HELD_OUT_BYTES, corpus_hash, read_corpus

if TYPE_CHECKING:
    from flops_fit.sweep.experiment import Experiment

CONTEXT = 64
VOCABULARY = 128


class TinyGPT(nn.Module):
    """A decoder-only transformer.

    Shapes: bytes (B, T) int64 below 128 → logits (B, T, 128), position t predicting byte t + 1.
    """

    def __init__(self, width: int, num_layers: int = 4, head_width: int = 16) -> None:
        super().__init__()
        if width % head_width:
            raise ValueError(f"width = {width} must be a multiple of head_width = {head_width}")
        self.head_width = head_width
        self.embed = nn.Embedding(VOCABULARY, width)
        self.blocks = nn.ModuleList(Block(width, head_width) for _ in range(num_layers))
        self.norm = nn.RMSNorm(width)
        self.logits = nn.Linear(width, VOCABULARY, bias=False)
        nn.init.normal_(self.embed.weight, std=0.02)
        nn.init.zeros_(self.logits.weight)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Logits of the next byte at every position."""
        stream = self.embed(tokens)  # (B, T, width)
        cosine, sine = rotary_angles(tokens.shape[1], self.head_width, tokens.device)
        for block in self.blocks:
            stream = block(stream, cosine, sine)
        return self.logits(self.norm(stream))  # (B, T, 128)


class Block(nn.Module):
    """Attention and a feed-forward layer, each after a norm and added to the stream."""

    def __init__(self, width: int, head_width: int) -> None:
        super().__init__()
        self.head_width = head_width
        self.attention_norm, self.feed_norm = nn.RMSNorm(width), nn.RMSNorm(width)
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.mixed = nn.Linear(width, width, bias=False)
        self.widen = nn.Linear(width, 4 * width, bias=False)
        self.narrow = nn.Linear(4 * width, width, bias=False)

    def forward(self, stream: torch.Tensor, cosine: torch.Tensor, sine: torch.Tensor) -> torch.Tensor:
        """(B, T, width) → (B, T, width)."""
        stream = stream + self.attend(self.attention_norm(stream), cosine, sine)
        return stream + self.narrow(functional.relu(self.widen(self.feed_norm(stream))).square())

    def attend(self, stream: torch.Tensor, cosine: torch.Tensor, sine: torch.Tensor) -> torch.Tensor:
        """Causal attention with rotary positions."""
        batch, length, width = stream.shape
        heads = self.qkv(stream).view(batch, length, 3, width // self.head_width, self.head_width)
        query, key, value = heads.permute(2, 0, 3, 1, 4)  # each (B, heads, T, head_width)
        query, key = rotate(query, cosine, sine), rotate(key, cosine, sine)
        mixed = functional.scaled_dot_product_attention(query, key, value, is_causal=True)
        return self.mixed(mixed.transpose(1, 2).reshape(batch, length, width))


def rotary_angles(length: int, head_width: int, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Cosines and sines (T, head_width / 2) of rotary position embedding (Su et al. 2021, arXiv 2104.09864)."""
    frequencies = 10_000.0 ** (-torch.arange(0, head_width, 2, device=device, dtype=torch.float32) / head_width)
    angles = torch.arange(length, device=device, dtype=torch.float32)[:, None] * frequencies
    return angles.cos(), angles.sin()


def rotate(heads: torch.Tensor, cosine: torch.Tensor, sine: torch.Tensor) -> torch.Tensor:
    """Turn each pair of channels by its position's angle; (B, heads, T, head_width) → the same."""
    first, second = heads.chunk(2, dim=-1)
    return torch.cat([first * cosine - second * sine, second * cosine + first * sine], dim=-1).to(heads.dtype)


def learning_rate(experiment: Experiment) -> float:
    """0.07 / sqrt(width), found by the learning-rate check: the best rate falls as the width grows."""
    return 0.07 / math.sqrt(experiment.size_param_value)


def train_dataset() -> TensorDataset:
    """Sequences of 64 bytes and the 64 bytes one later, without overlap; 64 tokens an example."""
    return _sequences(read_corpus()[:-HELD_OUT_BYTES], "train")


def held_out_dataset() -> TensorDataset:
    """The last 131,072 bytes, likewise."""
    return _sequences(read_corpus()[-HELD_OUT_BYTES:], "held-out")


def _sequences(text: bytes, part: str) -> TensorDataset:
    stream = torch.from_numpy(np.frombuffer(text, dtype=np.uint8).astype(np.int64))
    count = (len(stream) - 1) // CONTEXT
    inputs = stream[: count * CONTEXT].view(count, CONTEXT)
    targets = stream[1 : count * CONTEXT + 1].view(count, CONTEXT)
    dataset = TensorDataset(inputs, targets)
    dataset.fingerprint = f"stdlib sequences {part} {CONTEXT} {corpus_hash()}"  # type: ignore[attr-defined]
    return dataset
