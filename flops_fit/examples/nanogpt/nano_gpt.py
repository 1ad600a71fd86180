"""A GPT in the manner of nanoGPT: learned positions, tied head, and a forward that returns (logits, loss)."""

import torch
from torch import nn
from torch.nn import functional


class GPT(nn.Module):
    """Shapes: tokens and targets (B, T) int64 → logits (B, T, vocabulary) and the mean loss over the targets."""

    def __init__(self, width: int, depth: int, heads: int, context: int, vocabulary: int) -> None:
        super().__init__()
        self.tokens, self.positions = nn.Embedding(vocabulary, width), nn.Embedding(context, width)
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(depth))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, vocabulary, bias=False)
        self.head.weight = self.tokens.weight
        self.apply(_initialise)

    def forward(self, tokens: torch.Tensor, targets: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Logits and loss."""
        places = torch.arange(tokens.shape[1], device=tokens.device)
        stream = self.tokens(tokens) + self.positions(places)  # (B, T, width)
        for block in self.blocks:
            stream = block(stream)
        logits = self.head(self.norm(stream))
        return logits, functional.cross_entropy(logits.flatten(0, 1), targets.flatten())


class Block(nn.Module):
    """Causal attention and a feed-forward layer, each after a norm and added to the stream."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.first_norm, self.second_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.mixed = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.feed = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, stream: torch.Tensor) -> torch.Tensor:
        """(B, T, width) → (B, T, width)."""
        batch, length, width = stream.shape
        qkv = self.qkv(self.first_norm(stream)).view(batch, length, 3, self.heads, width // self.heads)
        query, key, value = qkv.permute(2, 0, 3, 1, 4)  # each (B, heads, T, width / heads)
        seen = functional.scaled_dot_product_attention(query, key, value, is_causal=True)
        stream = stream + self.mixed(seen.transpose(1, 2).reshape(batch, length, width))
        return stream + self.feed(self.second_norm(stream))


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Linear | nn.Embedding):
        nn.init.normal_(module.weight, std=0.02)


def build(width: int) -> GPT:
    """The model that the study trains, by its width."""
    return GPT(width, depth=2, heads=width // 4, context=64, vocabulary=128)
