"""Model classes to plan with: an MLP, a GPT, and constructors as awkward as people write them."""

import functools
import os
import random
import signal
import sys
import time

import numpy as np
import torch
from torch import nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint


class MLP(nn.Module):
    """N(width) = 2·width + width = 3·width without biases; (B, 2) → (B, 1)."""

    def __init__(self, width, depth=0):
        super().__init__()
        layers = [nn.Linear(2, width, bias=False)]
        layers += [nn.Linear(width, width, bias=False) for _ in range(depth)]
        self.layers = nn.Sequential(*layers, nn.Linear(width, 1, bias=False))

    def forward(self, x):
        return self.layers(x)


class CharMLP(nn.Module):
    """The demo's model: 8 bytes → embedding 16 → hidden → residual → 128 logits.

    Non-embedding parameters: width² + 258·width + 128; FLOPs per token: 6 · (width² + 256·width).
    """

    def __init__(self, width):
        super().__init__()
        self.embed = nn.Embedding(128, 16)
        self.hidden = nn.Linear(128, width)
        self.residual = nn.Linear(width, width)
        self.logits = nn.Linear(width, 128)

    def forward(self, x):
        hidden = torch.relu(self.hidden(self.embed(x).flatten(1)))
        return self.logits(hidden + torch.relu(self.residual(hidden)))


class GPT(nn.Module):
    """A plain decoder: learned positions, biases nowhere, head tied on request; (B, T) → (B, T, vocabulary)."""

    def __init__(self, width, layers=4, heads=4, vocabulary=50257, context=1024, tied=False, recompute=False):
        super().__init__()
        assert width % heads == 0, f"width {width} is no multiple of {heads} heads"
        self.recompute = recompute
        self.embed, self.positions = nn.Embedding(vocabulary, width), nn.Embedding(context, width)
        self.blocks = nn.ModuleList(GPTBlock(width, heads) for _ in range(layers))
        self.norm = nn.LayerNorm(width, bias=False)
        self.head = nn.Linear(width, vocabulary, bias=False)
        if tied:
            self.head.weight = self.embed.weight

    def forward(self, tokens):
        stream = self.embed(tokens) + self.positions(torch.arange(tokens.shape[1], device=tokens.device))
        for block in self.blocks:
            stream = checkpoint(block, stream, use_reentrant=False) if self.recompute else block(stream)
        return self.head(self.norm(stream))


class GPTBlock(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width, bias=False), nn.LayerNorm(width, bias=False)
        self.qkv, self.out = nn.Linear(width, 3 * width, bias=False), nn.Linear(width, width, bias=False)
        self.up, self.down = nn.Linear(width, 4 * width, bias=False), nn.Linear(4 * width, width, bias=False)

    def forward(self, stream):
        batch, length, width = stream.shape
        parts = self.qkv(self.norm1(stream)).view(batch, length, 3, self.heads, width // self.heads)
        query, key, value = parts.permute(2, 0, 3, 1, 4)
        mixed = functional.scaled_dot_product_attention(query, key, value, is_causal=True)
        stream = stream + self.out(mixed.transpose(1, 2).reshape(batch, length, width))
        return stream + self.down(functional.gelu(self.up(self.norm2(stream))))


def gpt_matmul_params(width, layers=4, vocabulary=50257):
    """Weights that multiply every token once: 12·width² a layer and the head."""
    return 12 * layers * width**2 + vocabulary * width


class Base(nn.Module):
    """One layer of 2·width weights, to which the awkward classes below add their habit."""

    def __init__(self, width):
        super().__init__()
        self.layer = nn.Linear(2, width, bias=False)

    def forward(self, x):
        return self.layer(x).sum(-1, keepdim=True)


class CallsItem(Base):
    def __init__(self, width):
        super().__init__(width)
        self.rates = [rate.item() for rate in torch.linspace(0, 0.1, 3)]


class CallsBool(Base):
    def __init__(self, width):
        super().__init__(width)
        if not torch.isfinite(self.layer.weight).all():
            nn.init.zeros_(self.layer.weight)


class CallsNumpy(Base):
    def __init__(self, width):
        super().__init__(width)
        self.first = self.layer.weight.detach().numpy().shape


class CallsToList(Base):
    def __init__(self, width):
        super().__init__(width)
        self.rates = torch.linspace(0, 0.1, 3).tolist()


class MixesDevices(Base):
    def __init__(self, width):
        super().__init__(width)
        self.scale = torch.ones(width) * torch.ones(width, device="cpu")


class PutsOnGpu(Base):
    def __init__(self, width):
        super().__init__(width)
        self.layer = self.layer.cuda()


class MakesOnGpu(Base):
    def __init__(self, width):
        super().__init__(width)
        self.scale = torch.ones(width, device="cuda:0")


class Exits(Base):
    def __init__(self, width):
        super().__init__(width)
        if width > 100:
            sys.exit(3)


class Sleeps(Base):
    def __init__(self, width):
        super().__init__(width)
        time.sleep(30)


class SeedsEverything(Base):
    def __init__(self, width):
        random.seed(0)
        np.random.seed(0)  # noqa: NPY002
        torch.manual_seed(0)
        super().__init__(width)
        random.random(), np.random.rand(), torch.rand(1, device="cpu")  # noqa: NPY002


class ChangesDefaults(Base):
    def __init__(self, width):
        torch.set_default_dtype(torch.float64)
        torch.set_num_threads(2)
        os.environ["FLOPS_FIT_TEST"] = "1"
        os.chdir("/")
        super().__init__(width)


class RegistersGlobalHook(Base):
    def __init__(self, width):
        super().__init__(width)
        nn.modules.module.register_module_forward_hook(lambda *_: None)


class PrintsALot(Base):
    def __init__(self, width):
        super().__init__(width)
        print("hello\n" * 1000)
        print("hello\n" * 1000, file=sys.stderr)


class RefersToItself(Base):
    """A reference cycle keeps it alive until the garbage collector runs."""

    alive = 0

    def __init__(self, width):
        assert RefersToItself.alive == 0, "a second model while the first is alive"
        super().__init__(width)
        RefersToItself.alive += 1
        self.me = [self]

    def __del__(self):
        RefersToItself.alive -= 1


class NumpyInitialised(nn.Module):
    def __init__(self, width):
        super().__init__()
        weights = np.random.default_rng(0).standard_normal((width, 64))
        self.weight = nn.Parameter(torch.from_numpy(weights).float())


class LoadsFile(Base):
    """Reads its initial scale from a checkpoint beside it."""

    def __init__(self, width, path):
        super().__init__(width)
        self.scale = torch.load(path, weights_only=True)["scale"]


class Lazy(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.layers = nn.Sequential(nn.LazyLinear(width, bias=False), nn.ReLU(), nn.LazyLinear(1, bias=False))

    def forward(self, x):
        return self.layers(x)


class WeightNorm(nn.Module):
    """Magnitudes (width) beside directions (width × 2): 3·width."""

    def __init__(self, width):
        super().__init__()
        self.layer = nn.utils.parametrizations.weight_norm(nn.Linear(2, width, bias=False))


class OrthogonalParametrization(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.layer = nn.utils.parametrizations.orthogonal(nn.Linear(width, width, bias=False))


class TiedByParameter(nn.Module):
    """embed and head share one Parameter: 16·width."""

    def __init__(self, width):
        super().__init__()
        self.embed, self.head = nn.Embedding(16, width), nn.Linear(width, 16, bias=False)
        self.head.weight = self.embed.weight


class TableAlone(nn.Module):
    """Nothing but an embedding: 16·width."""

    def __init__(self, width):
        super().__init__()
        self.embed = nn.Embedding(16, width)


class CountedLanguageModel(nn.Module):
    """An embedding and a head, counted by the model itself: the head's 16·width alone."""

    def __init__(self, width):
        super().__init__()
        self.embed, self.head = nn.Embedding(16, width), nn.Linear(width, 16, bias=False)

    def num_params(self):
        return self.head.weight.numel()


class TiedByData(nn.Module):
    """Two Parameters over one storage: 16·width."""

    def __init__(self, width):
        super().__init__()
        self.embed, self.head = nn.Embedding(16, width), nn.Linear(width, 16, bias=False)
        self.head.weight.data = self.embed.weight.data


class FlatBuffer(nn.Module):
    """Two parameters that are parts of one buffer are not tied: 3·width."""

    def __init__(self, width):
        super().__init__()
        flat = torch.empty(3 * width)
        self.first, self.second = nn.Parameter(flat[:width]), nn.Parameter(flat[width:])


class Recurrent(nn.Module):
    """An LSTM over features of 8: 4·width·(8 + width + 2)."""

    def __init__(self, width):
        super().__init__()
        self.lstm = nn.LSTM(8, width, batch_first=True)

    def forward(self, x):
        return self.lstm(x)[0]


class ConvNet(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(3, width, 3), nn.BatchNorm2d(width), nn.ReLU(), nn.Conv2d(width, 4, 3))

    def forward(self, x):
        return self.layers(x)


class Frozen(nn.Module):
    """Of 4·width weights half are trained."""

    def __init__(self, width):
        super().__init__()
        self.body, self.head = nn.Linear(2, width, bias=False), nn.Linear(width, 2, bias=False)
        self.body.requires_grad_(False)


class EatsTypos(nn.Module):
    def __init__(self, hidden=8, **kwargs):
        super().__init__()
        self.layer = nn.Linear(2, hidden)


class OnlyMultiplesOf24(Base):
    def __init__(self, width):
        if width % 24:
            raise ValueError(f"width {width} is no multiple of 24")
        super().__init__(width)


class HeadsOf64(Base):
    """No heads below 64, and then a division by zero."""

    def __init__(self, width):
        self.head_width = width // (width // 64)
        super().__init__(width)


class OnlyPowersOfTwo(Base):
    def __init__(self, width):
        assert width & (width - 1) == 0, "width must be a power of two"
        super().__init__(width)


class ShrinksAbove(Base):
    """Uses a cheaper layer from 1000 on."""

    def __init__(self, width):
        super().__init__(width if width < 1000 else width // 7 + 1)


class TakesMinusTen(nn.Module):
    """Torch refuses the negative layer of small sizes with a RuntimeError."""

    def __init__(self, width):
        super().__init__()
        self.layer = nn.Linear(2, width - 10, bias=False)


class NeverBuilds(nn.Module):
    def __init__(self, width):
        raise OSError("weights.bin is not there")


class CountsItself:
    """No module; counts itself with NumPy."""

    def __init__(self, width):
        self.width = width

    def num_params(self):
        return np.int64(self.width) * 100


class Uncountable:
    def __init__(self, width):
        self.width = width


class MiscountsItself(MLP):
    def num_params(self):
        return self.layers[0].weight.numel()


def make_mlp(width, depth=0):
    return MLP(width, depth)


partial_mlp = functools.partial(MLP, depth=1)


class KilledForReal(Base):
    """Off the meta device, the system kills it."""

    def __init__(self, width):
        super().__init__(width)
        if not self.layer.weight.is_meta:
            os.kill(os.getpid(), signal.SIGKILL)
        self.layer.weight.sum().item()


class HangsForReal(Base):
    """Off the meta device, it never ends."""

    def __init__(self, width):
        super().__init__(width)
        while not self.layer.weight.is_meta:
            pass
        self.layer.weight.sum().item()


class Killed(Base):
    """The system kills whoever builds it."""

    def __init__(self, width):
        super().__init__(width)
        os.kill(os.getpid(), signal.SIGKILL)


class KilledOnMeta(Base):
    """Only the meta device kills it, as a native extension may do."""

    def __init__(self, width):
        super().__init__(width)
        if self.layer.weight.is_meta:
            os._exit(11)


class Hangs(Base):
    """It never ends."""

    def __init__(self, width):
        super().__init__(width)
        while True:
            pass


class RoutesByData(Base):
    """Its forward pass asks for a value."""

    def forward(self, x):
        return super().forward(x) if x.sum().item() < 1e9 else x


class DiffersOnMeta(Base):
    """Half of its weights where there is no data to look at."""

    def __init__(self, width):
        super().__init__(width)
        if not self.layer.weight.is_meta:
            self.extra = nn.Linear(2, width, bias=False)
