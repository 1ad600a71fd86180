"""A well-known small character model, trained by hand and by `run_experiment`: `python benchmarks/character_model.py`.

The recipe is that of nanoGPT's README for a CPU: 4 layers, 4 heads, width 128, context 64, batch 12, 2000 steps, AdamW
at 1e-3 with 100 warmup steps and a cosine to a tenth, no dropout; published: validation loss 1.88 on Tiny Shakespeare.
On the standard library's bytes the loop below, which shares no code with the library's, gives the number to reach.
"""

from __future__ import annotations

import math
import sys
import tempfile

import torch
from torch import nn
from torch.nn import functional
from torch.utils.data import TensorDataset

CONTEXT, BATCH, STEPS, WIDTH = 64, 12, 2000, 128
RATE, WARMUP, FLOOR = 1e-3, 100, 0.1


class CharacterGPT(nn.Module):
    """GPT-2 in small: learned positions, pre-norm, GELU, no biases, tied head; (B, T) → (B, T, vocabulary)."""

    def __init__(self, width, vocabulary=128, layers=4, heads=4):
        super().__init__()
        self.embed, self.positions = nn.Embedding(vocabulary, width), nn.Embedding(CONTEXT, width)
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(layers))
        self.norm = nn.LayerNorm(width, bias=False)
        for name, parameter in self.named_parameters():
            if parameter.ndim == 2:
                residual = name.endswith(("mixed.weight", "down.weight"))
                nn.init.normal_(parameter, std=0.02 / math.sqrt(2 * layers) if residual else 0.02)

    def forward(self, tokens):
        stream = self.embed(tokens) + self.positions.weight[: tokens.shape[1]]
        for block in self.blocks:
            stream = block(stream)
        return functional.linear(self.norm(stream), self.embed.weight)


class Block(nn.Module):
    """Attention, then a feed-forward layer of four times the width."""

    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width, bias=False), nn.LayerNorm(width, bias=False)
        self.qkv, self.mixed = nn.Linear(width, 3 * width, bias=False), nn.Linear(width, width, bias=False)
        self.up, self.down = nn.Linear(width, 4 * width, bias=False), nn.Linear(4 * width, width, bias=False)

    def forward(self, stream):
        batch, length, width = stream.shape
        parts = self.qkv(self.norm1(stream)).view(batch, length, 3, self.heads, width // self.heads)
        query, key, value = parts.permute(2, 0, 3, 1, 4)
        mixed = functional.scaled_dot_product_attention(query, key, value, is_causal=True)
        stream = stream + self.mixed(mixed.transpose(1, 2).reshape(batch, length, width))
        return stream + self.down(functional.gelu(self.up(self.norm2(stream))))


def characters(text):
    """Indices of the text's characters among those it has, and how many those are."""
    known = {character: index for index, character in enumerate(sorted(set(text)))}
    return torch.tensor([known[character] for character in text]), len(known)


def stdlib_text():
    """The corpus of the demo as ASCII text."""
    from flops_fit.examples.stdlib_corpus import read_corpus

    return read_corpus().decode("ascii")


def split(stream):
    """The last tenth is held out."""
    cut = int(0.9 * len(stream))
    return stream[:cut], stream[cut:]


def windows(stream, stride):
    """Pairs of sequences and the same one later, every `stride` characters."""
    pieces = stream.unfold(0, CONTEXT + 1, stride)
    return TensorDataset(pieces[:, :-1], pieces[:, 1:])


def by_hand(text, seed=0):
    """Held-out loss after the recipe, written out with nothing of the library."""
    stream, vocabulary = characters(text)
    train, held_out = split(stream)
    torch.manual_seed(seed)
    model = CharacterGPT(WIDTH, vocabulary)
    matrices = [parameter for parameter in model.parameters() if parameter.ndim >= 2]
    vectors = [parameter for parameter in model.parameters() if parameter.ndim < 2]
    groups = [{"params": matrices, "weight_decay": 0.1}, {"params": vectors, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=RATE, betas=(0.9, 0.99))
    for step in range(STEPS):
        rising = (step + 1) / WARMUP
        falling = FLOOR + (1 - FLOOR) * 0.5 * (1 + math.cos(math.pi * (step - WARMUP) / (STEPS - WARMUP)))
        for group in optimizer.param_groups:
            group["lr"] = RATE * (rising if step < WARMUP else falling)
        starts = torch.randint(len(train) - CONTEXT, (BATCH,)).tolist()
        inputs = torch.stack([train[start : start + CONTEXT] for start in starts])
        targets = torch.stack([train[start + 1 : start + 1 + CONTEXT] for start in starts])
        loss = functional.cross_entropy(model(inputs).flatten(0, 1), targets.flatten())
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    return held_out_loss(model, held_out)


def held_out_loss(model, stream):
    """Mean over whole windows of at most 131,072 characters."""
    model.eval()
    inputs, targets = windows(stream[:131_072], CONTEXT).tensors
    with torch.no_grad():
        parts = [
            functional.cross_entropy(model(some).flatten(0, 1), wanted.flatten(), reduction="sum").item()
            for some, wanted in zip(inputs.split(256), targets.split(256), strict=True)
        ]
    return sum(parts) / targets.numel()


def by_the_library(text, directory, seed=0):
    """The result of `run_experiment` with the same recipe."""
    from flops_fit import Experiment, Hardware, Recipe, Study, run_experiment
    from flops_fit.loss import cross_entropy
    from flops_fit.study.sections import DataSpec, LossSpec, ModelSpec, SweepOptions

    stream, vocabulary = characters(text)
    train, held_out = split(stream)
    recipe = Recipe(
        learning_rate=RATE, batch_tokens=BATCH * CONTEXT, betas=(0.9, 0.99), weight_decay=0.1, gradient_clip=1.0,
        warmup_fraction=WARMUP / STEPS, schedule="cosine", final_fraction=FLOOR,
    )  # fmt: skip
    study = Study(
        name="characters",
        model=ModelSpec(factory=CharacterGPT, size_param="width", kwargs={"vocabulary": vocabulary}),
        data=DataSpec(train=windows(train, 1), eval=windows(held_out[:131_072], CONTEXT), version="characters"),
        loss=LossSpec(fn=cross_entropy),
        sweep=SweepOptions(compute_budgets=(1e13,)),
        training=recipe,
        hardware=Hardware(device="cpu"),
    )
    num_params = sum(parameter.numel() for parameter in CharacterGPT(WIDTH, vocabulary).parameters())
    tokens = STEPS * BATCH * CONTEXT
    experiment = Experiment(
        experiment_id="characters", compute_budget=6.0 * num_params * tokens, size_param="width",
        size_param_value=WIDTH, num_params=num_params, num_tokens=tokens, flops_per_token=6.0 * num_params, seed=seed,
    )  # fmt: skip
    return run_experiment(study, experiment, output_dir=directory)


if __name__ == "__main__":
    torch.set_num_threads(1)
    seeds = [int(seed) for seed in sys.argv[1:]] or [0]
    for number in seeds:
        print(f"by hand, seed {number}: {by_hand(stdlib_text(), number):.4f}", flush=True)
        with tempfile.TemporaryDirectory() as folder:
            result = by_the_library(stdlib_text(), folder, number)
        print(
            f"by run_experiment, seed {number}: {result.loss:.4f}, {result.steps} steps, {result.seconds:.0f} s",
            flush=True,
        )
