"""Public model families outside of Hugging Face, written anew in plain torch with the published shapes.

Each class is called with its size alone; what is counted of it is checked against the published number of parameters,
and its FLOPs per token (of images per image) against a formula worked out from the shapes.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

GPT2_VOCABULARY, MAMBA_VOCABULARY, RWKV_VOCABULARY = 50257, 50280, 50277


class Block(nn.Module):
    """A block of GPT-2: attention to the tokens before, and an MLP of four times the width."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        batch, length, width = x.shape
        heads = self.qkv(self.norm1(x)).view(batch, length, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        seen = functional.scaled_dot_product_attention(*heads, is_causal=True)
        x = x + self.out(seen.transpose(1, 2).reshape(batch, length, width))
        return x + self.down(functional.gelu(self.up(self.norm2(x))))


class NanoGPT(nn.Module):
    """nanoGPT: GPT-2 with a tied head; `width` and `depth` are each a size (Radford et al. 2019, table 2)."""

    def __init__(self, width: int = 768, depth: int = 12, heads: int = 12, context: int = 1024) -> None:
        super().__init__()
        self.embed, self.places = nn.Embedding(GPT2_VOCABULARY, width), nn.Embedding(context, width)
        self.blocks = nn.Sequential(*(Block(width, heads) for _ in range(depth)))
        self.norm = nn.LayerNorm(width)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        x = self.embed(tokens) + self.places(torch.arange(tokens.shape[1], device=tokens.device))
        return functional.linear(self.norm(self.blocks(x)), self.embed.weight)


def nano_gpt_params(width: int, depth: int, context: int = 1024) -> int:
    return (GPT2_VOCABULARY + context) * width + depth * (12 * width**2 + 13 * width) + 2 * width


def nano_gpt_flops(width: int, depth: int, context: int) -> float:
    return 6 * (12 * depth * width**2 + GPT2_VOCABULARY * width) + 12 * depth * width * context


class MambaBlock(nn.Module):
    """Gu and Dao 2023, arXiv 2312.00752, with the scan as sums of exponentials instead of a kernel."""

    def __init__(self, width: int, state: int = 16, kernel: int = 4) -> None:
        super().__init__()
        inner, self.rank, self.state = 2 * width, -(-width // 16), state
        self.norm = nn.RMSNorm(width)
        self.in_proj = nn.Linear(width, 2 * inner, bias=False)
        self.conv = nn.Conv1d(inner, inner, kernel, groups=inner, padding=kernel - 1)
        self.x_proj = nn.Linear(inner, self.rank + 2 * state, bias=False)
        self.dt_proj = nn.Linear(self.rank, inner)
        self.A_log, self.D = nn.Parameter(torch.zeros(inner, state)), nn.Parameter(torch.ones(inner))
        self.out_proj = nn.Linear(inner, width, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        hidden, gate = self.in_proj(self.norm(x)).chunk(2, dim=-1)  # (B, T, inner) each
        hidden = functional.silu(self.conv(hidden.transpose(1, 2))[..., : x.shape[1]].transpose(1, 2))
        step, into, out = self.x_proj(hidden).split([self.rank, self.state, self.state], dim=-1)
        step = functional.softplus(self.dt_proj(step))
        decay = torch.cumsum(step[..., None] * -self.A_log.exp(), dim=1)  # (B, T, inner, state)
        kept = decay.exp() * torch.cumsum((-decay).exp() * (step * hidden)[..., None] * into[:, :, None], dim=1)
        mixed = (kept * out[:, :, None]).sum(-1) + self.D * hidden
        return x + self.out_proj(mixed * functional.silu(gate))


class Mamba(nn.Module):
    """Mamba with a tied head; `width` is the size."""

    def __init__(self, width: int = 768, depth: int = 24) -> None:
        super().__init__()
        self.embed = nn.Embedding(MAMBA_VOCABULARY, width)
        self.blocks, self.norm = nn.Sequential(*(MambaBlock(width) for _ in range(depth))), nn.RMSNorm(width)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return functional.linear(self.norm(self.blocks(self.embed(tokens))), self.embed.weight)


def mamba_params(width: int, depth: int) -> int:
    inner, rank, state = 2 * width, -(-width // 16), 16
    block = width + 2 * width * inner + 5 * inner + inner * (rank + 2 * state) + rank * inner + inner
    return MAMBA_VOCABULARY * width + width + depth * (block + inner * state + inner + inner * width)


def mamba_flops(width: int, depth: int, context: int) -> float:
    """The scan itself multiplies no matrices; the convolution pads its context by 3."""
    inner, rank = 2 * width, -(-width // 16)
    weights = 2 * width * inner + inner * (rank + 32) + rank * inner + inner * width
    return 6 * (depth * (weights + 4 * inner * (context + 3) / context) + MAMBA_VOCABULARY * width)


class RwkvBlock(nn.Module):
    """RWKV-4: mixing over time by decaying sums, and over channels (Peng et al. 2023, arXiv 2305.13048)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.mix = nn.Parameter(torch.rand(5, width))
        self.decay, self.first = nn.Parameter(torch.rand(width)), nn.Parameter(torch.rand(width))
        self.r, self.k, self.v, self.out = (nn.Linear(width, width, bias=False) for _ in range(4))
        self.gate, self.up = nn.Linear(width, width, bias=False), nn.Linear(width, 4 * width, bias=False)
        self.down = nn.Linear(4 * width, width, bias=False)

    @staticmethod
    def _before(x: torch.Tensor) -> torch.Tensor:
        return functional.pad(x, (0, 0, 1, -1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        now = self.norm1(x)
        r, k, v = (
            part(torch.lerp(self._before(now), now, self.mix[i])) for i, part in enumerate((self.r, self.k, self.v))
        )
        places = torch.arange(x.shape[1], device=x.device)[:, None] * self.decay.exp()
        weight = (k + places).exp()
        own = (k + self.first).exp()
        above, below = (self._before(torch.cumsum(part, 1)) * (-places).exp() for part in (weight * v, weight))
        x = x + self.out(r.sigmoid() * (above + own * v) / (below + own))
        now = self.norm2(x)
        k = self.up(torch.lerp(self._before(now), now, self.mix[3])).relu().square()
        return x + self.gate(torch.lerp(self._before(now), now, self.mix[4])).sigmoid() * self.down(k)


class Rwkv(nn.Module):
    """RWKV-4; `width` is the size."""

    def __init__(self, width: int = 768, depth: int = 12) -> None:
        super().__init__()
        self.embed, self.norm0 = nn.Embedding(RWKV_VOCABULARY, width), nn.LayerNorm(width)
        self.blocks, self.norm = nn.Sequential(*(RwkvBlock(width) for _ in range(depth))), nn.LayerNorm(width)
        self.head = nn.Linear(width, RWKV_VOCABULARY, bias=False)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return self.head(self.norm(self.blocks(self.norm0(self.embed(tokens)))))


def rwkv_params(width: int, depth: int) -> int:
    """Peng et al. 2023, section 4.1: 2·V·D + 13·D²·L + D·(11·L + 4)."""
    return 2 * RWKV_VOCABULARY * width + 13 * width**2 * depth + width * (11 * depth + 4)


def rwkv_flops(width: int, depth: int, context: int) -> float:
    """Three times their forward pass, 2·(V·D + 13·D²·L)."""
    return 6 * (RWKV_VOCABULARY * width + 13 * width**2 * depth)


class LinearAttention(nn.Module):
    """Linear attention with a state of keys by values (Katharopoulos et al. 2020, arXiv 2006.16236); `width` is the
    size, each of 8 heads an eighth of it."""

    HEADS, DEPTH = 8, 8

    def __init__(self, width: int = 512) -> None:
        super().__init__()
        self.embed = nn.Embedding(256, width)
        self.qkv = nn.ModuleList(nn.Linear(width, 3 * width, bias=False) for _ in range(self.DEPTH))
        self.out = nn.ModuleList(nn.Linear(width, width, bias=False) for _ in range(self.DEPTH))
        self.head = nn.Linear(width, 256, bias=False)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        x = self.embed(tokens)
        for qkv, out in zip(self.qkv, self.out, strict=True):
            q, k, v = (part.unflatten(-1, (self.HEADS, -1)) for part in qkv(x).chunk(3, dim=-1))
            q, k = functional.elu(q) + 1, functional.elu(k) + 1
            state = torch.cumsum(k[..., :, None] * v[..., None, :], dim=1)  # (B, T, heads, keys, values)
            seen = (q[..., None, :] @ state)[..., 0, :] / (q * torch.cumsum(k, dim=1)).sum(-1, keepdim=True)
            x = x + out(seen.flatten(-2))
        return self.head(x)


def linear_attention_params(width: int) -> int:
    return 512 * width + 4 * LinearAttention.DEPTH * width**2


def linear_attention_flops(width: int, context: int) -> float:
    """A query multiplies the state of its head."""
    return 6 * (256 * width + LinearAttention.DEPTH * (4 * width**2 + width * width // LinearAttention.HEADS))


class VisionTransformer(nn.Module):
    """ViT with 16×16 patches of images of 224 (Dosovitskiy et al. 2021, arXiv 2010.11929); `width` is the size."""

    def __init__(self, width: int = 768, depth: int = 12, heads: int = 12, classes: int = 1000) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, width, 16, 16)
        self.token, self.places = nn.Parameter(torch.zeros(1, 1, width)), nn.Parameter(torch.zeros(1, 197, width))
        layer = nn.TransformerEncoderLayer(width, heads, 4 * width, 0.0, "gelu", batch_first=True, norm_first=True)
        self.encoder = nn.TransformerEncoder(layer, depth, nn.LayerNorm(width), enable_nested_tensor=False)
        self.head = nn.Linear(width, classes)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        patches = self.patches(images).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(len(images), -1, -1), patches], dim=1) + self.places
        return self.head(self.encoder(x)[:, 0])


def vision_transformer_params(width: int, depth: int = 12, classes: int = 1000) -> int:
    ends = 768 * width + width + 198 * width + 2 * width + (width + 1) * classes
    return ends + depth * (12 * width**2 + 13 * width)


def vision_transformer_flops(width: int, depth: int = 12, classes: int = 1000) -> float:
    """Of an image: 197 tokens in the encoder, 196 patches (whose pixels take no gradient), one token in the head."""
    encoder = 197 * (6 * 12 * depth * width**2 + 12 * depth * width * 197)
    return encoder + 4 * 196 * 768 * width + 6 * width * classes


class Bottleneck(nn.Module):
    """1×1, 3×3 and 1×1 convolutions beside a shortcut."""

    def __init__(self, given: int, inner: int, stride: int) -> None:
        super().__init__()
        made = 4 * inner
        self.body = nn.Sequential(
            nn.Conv2d(given, inner, 1, bias=False), nn.BatchNorm2d(inner), nn.ReLU(),
            nn.Conv2d(inner, inner, 3, stride, 1, bias=False), nn.BatchNorm2d(inner), nn.ReLU(),
            nn.Conv2d(inner, made, 1, bias=False), nn.BatchNorm2d(made),
        )  # fmt: skip
        changes = stride != 1 or given != made
        short = [nn.Conv2d(given, made, 1, stride, bias=False), nn.BatchNorm2d(made)] if changes else []
        self.short = nn.Sequential(*short)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return functional.relu(self.body(x) + self.short(x))


class ResNet(nn.Module):
    """ResNet-50 (He et al. 2015, arXiv 1512.03385, stride in the 3×3 as torchvision has it); `width` is that of its
    first stage, 64 as published."""

    BLOCKS = (3, 4, 6, 3)

    def __init__(self, width: int = 64, classes: int = 1000) -> None:
        super().__init__()
        stem = [nn.Conv2d(3, width, 7, 2, 3, bias=False), nn.BatchNorm2d(width), nn.ReLU(), nn.MaxPool2d(3, 2, 1)]
        stages, given = [], width
        for stage, count in enumerate(self.BLOCKS):
            inner = width * 2**stage
            for block in range(count):
                stages.append(Bottleneck(given, inner, 2 if stage and not block else 1))
                given = 4 * inner
        self.body, self.head = nn.Sequential(*stem, *stages), nn.Linear(given, classes)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.head(self.body(images).mean((2, 3)))


def resnet_convolutions(width: int) -> list[tuple[int, int]]:
    """Weights and places of each convolution but the first, for images of 224."""
    found, given = [], width
    for stage, count in enumerate(ResNet.BLOCKS):
        inner, side = width * 2**stage, 56 // 2**stage
        for block in range(count):
            before = side * 2 if stage and not block else side  # the 1×1 stands before the stride
            found += [(given * inner, before**2), (9 * inner**2, side**2), (4 * inner**2, side**2)]
            if not block:
                found.append((4 * given * inner, side**2))
            given = 4 * inner
    return found


def resnet_params(width: int, classes: int = 1000) -> int:
    convolutions = 147 * width + sum(weights for weights, _ in resnet_convolutions(width))
    norms, given = 2 * width, width
    for stage, count in enumerate(ResNet.BLOCKS):
        inner = width * 2**stage
        norms += count * 2 * (inner + inner + 4 * inner) + 2 * 4 * inner
        given = 4 * inner
    return convolutions + norms + (given + 1) * classes


def resnet_flops(width: int, classes: int = 1000) -> float:
    """Of an image of 224, whose pixels take no gradient."""
    rest = sum(weights * places for weights, places in resnet_convolutions(width))
    return 4 * 147 * width * 112**2 + 6 * rest + 6 * 32 * width * classes
