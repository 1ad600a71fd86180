"""Models that are hard to measure: experts, questions about data, sizes that build but do not run, rounded widths."""

import logging
import sys

import torch
from torch import nn
from torch.nn import functional


class Experts(nn.Module):
    """Each token goes to `top` of `experts` MLPs of width → hidden → width, by one grouped product per layer.

    FLOPs of a forward pass per token: 2·width·experts for the router and top·2·(2·width·hidden).
    """

    def __init__(self, width, hidden=32, experts=8, top=2):
        super().__init__()
        self.top = top
        self.router = nn.Linear(width, experts, bias=False)
        self.up = nn.Parameter(torch.randn(experts, width, hidden))
        self.down = nn.Parameter(torch.randn(experts, hidden, width))

    def forward(self, tokens):
        weights, chosen = self.router(tokens).softmax(-1).topk(self.top, dim=-1)
        order = chosen.flatten().argsort()
        counts = torch.zeros(len(self.up), dtype=torch.int32, device=tokens.device)
        ends = counts.scatter_add(0, chosen.flatten(), torch.ones_like(order, dtype=torch.int32)).cumsum(0).int()
        hidden = torch._grouped_mm(tokens[order // self.top], self.up, offs=ends).relu()
        mixed = torch._grouped_mm(hidden, self.down, offs=ends) * weights.flatten()[order, None]
        return tokens.index_add(0, order // self.top, mixed)


def experts_flops(width, hidden, experts, top):
    """Forward and backward of `Experts` per token whose own gradient is needed: 6 per weight that it meets."""
    return 6 * (width * experts + top * 2 * width * hidden)


class LoopsOverExperts(nn.Module):
    """As people write it: experts one after another, each on the tokens that chose it; asks the weights which."""

    def __init__(self, width, experts=4, top=2):
        super().__init__()
        self.top = top
        self.first = nn.Linear(2, width, bias=False)
        self.router = nn.Linear(width, experts, bias=False)
        self.experts = nn.ModuleList(nn.Linear(width, width, bias=False) for _ in range(experts))
        self.last = nn.Linear(width, 1, bias=False)

    def forward(self, x):
        tokens = self.first(x)
        chosen = self.router(tokens).topk(self.top, dim=-1).indices
        out = tokens
        for index, expert in enumerate(self.experts):
            rows = (chosen == index).any(-1).nonzero().squeeze(-1)
            out = out.index_add(0, rows, expert(tokens[rows]))
        return self.last(out)


class GroupedExperts(LoopsOverExperts):
    """The same experts in one parameter, multiplied by groups."""

    def __init__(self, width, experts=4, top=2):
        super().__init__(width, experts, top)
        self.experts = nn.Parameter(torch.randn(experts, width, width))

    def forward(self, x):
        tokens = self.first(x)
        order = (chosen := self.router(tokens).topk(self.top, dim=-1).indices.flatten()).argsort()
        ends = torch.zeros(len(self.experts), dtype=torch.int32, device=x.device)
        ends = ends.scatter_add(0, chosen, torch.ones_like(order, dtype=torch.int32)).cumsum(0).int()
        rows = order // self.top
        return self.last(tokens.index_add(0, rows, torch._grouped_mm(tokens[rows], self.experts, offs=ends)))


class GroupedExpertsWithBiases(GroupedExperts):
    """The same with biases in the experts' own module, of whatever names: (experts, width) and (experts, 1, width)."""

    def __init__(self, width, experts=4, top=2):
        super().__init__(width, experts, top)
        self.added = nn.Parameter(torch.zeros(experts, width))
        self.b2 = nn.Parameter(torch.zeros(experts, 1, width))
        self.scale = nn.Parameter(torch.ones(experts + 1, width))  # none of theirs

    def forward(self, x):
        tokens = self.first(x)
        order = (chosen := self.router(tokens).topk(self.top, dim=-1).indices.flatten()).argsort()
        ends = torch.zeros(len(self.experts), dtype=torch.int32, device=x.device)
        ends = ends.scatter_add(0, chosen, torch.ones_like(order, dtype=torch.int32)).cumsum(0).int()
        rows, of = order // self.top, chosen[order]
        mixed = torch._grouped_mm(tokens[rows], self.experts, offs=ends) + self.added[of] + self.b2[of].squeeze(-2)
        return self.last(tokens.index_add(0, rows, mixed * self.scale[0]))


class DeepExpertsWithBiases(LoopsOverExperts):
    """Experts of two layers, as plain sequences."""

    def __init__(self, width, experts=6, top=2):
        super().__init__(width, experts, top)
        self.first, self.last = nn.Linear(2, width), nn.Linear(width, 1)
        self.experts = nn.ModuleList(
            nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width)) for _ in range(experts)
        )


class ExpertsOfEmbeddings(nn.Module):
    """Experts whose first matrix multiplies embeddings as they are looked up, with one expert that all tokens meet;
    `rows`: the table of embeddings is a parameter of which rows are taken."""

    def __init__(self, width, experts=8, top=2, vocabulary=50, rows=False):
        super().__init__()
        self.top, self.rows = top, rows
        self.embed = nn.Embedding(vocabulary, width)
        self.router, self.head = nn.Linear(width, experts), nn.Linear(width, vocabulary)
        made = [
            nn.Sequential(nn.Linear(width, 4 * width), nn.ReLU(), nn.Linear(4 * width, width))
            for _ in range(experts + 1)
        ]
        self.shared, self.experts = made[0], nn.ModuleDict({f"e{at}": made[at + 1] for at in range(experts)})

    def forward(self, tokens):
        found = self.embed.weight[tokens] if self.rows else self.embed(tokens)
        x = found.flatten(0, 1)
        weights, chosen = self.router(x).softmax(-1).topk(self.top, -1)
        mixed = self.shared(x)
        for at, expert in enumerate(self.experts.values()):
            token, rank = torch.where(chosen == at)
            mixed = mixed.index_add(0, token, expert(x[token]) * weights[token, rank, None])
        return self.head(x + mixed).view(*tokens.shape, -1)


class AsksItsData(nn.Module):
    """Asks of its batch what a mask, a length, a number of classes are, in every way that people ask."""

    def __init__(self, width):
        super().__init__()
        self.embed, self.head = nn.Embedding(16, width), nn.Linear(width, 4, bias=False)
        self.register_buffer("positions", torch.arange(8))

    def forward(self, tokens):
        mask = tokens > 0
        if (mask[:, 0] == 0).all() or self.positions.max().item() != 7:
            raise AssertionError("not asked of this batch")
        longest = int(mask.sum(-1).max())
        places = torch.arange(longest) + mask.nonzero()[0, 1]
        assert places.tolist()[0] == 0
        return self.head(self.embed(tokens)[mask])


class TwelveHeads(nn.Module):
    """Builds at every width, and runs where it can be cut into twelve heads."""

    def __init__(self, width):
        super().__init__()
        self.first, self.last = nn.Linear(2, width, bias=False), nn.Linear(width, 1, bias=False)

    def forward(self, x):
        return self.last(self.first(x).view(len(x), 12, -1).flatten(1))


class EvenWidth(nn.Module):
    """Builds at any width; its forward pass takes pairs of channels, so that it runs at even ones alone."""

    def __init__(self, width):
        super().__init__()
        self.first, self.last = nn.Linear(2, width, bias=False), nn.Linear(width, 1, bias=False)

    def forward(self, x):
        pairs = self.first(x).view(len(x), -1, 2)
        return self.last(pairs.flip(-1).flatten(1))


class RoundedBlocks(nn.Module):
    """Layers of width → 8/3·width rounded up to 16 → width: no polynomial in the width."""

    def __init__(self, width, layers=4):
        super().__init__()
        self.hidden = -(-8 * width // 3 // 16) * 16
        self.first = nn.Linear(2, width, bias=False)
        self.layers = nn.ModuleList(
            nn.Sequential(nn.Linear(width, self.hidden, bias=False), nn.Linear(self.hidden, width, bias=False))
            for _ in range(layers)
        )
        self.last = nn.Linear(width, 1, bias=False)

    def forward(self, x):
        hidden = self.first(x)
        for layer in self.layers:
            hidden = functional.relu(layer(hidden))
        return self.last(hidden)


class LogsOnImport(nn.Module):
    """What it needs makes a log handler of the standard error stream when it is imported, inside the constructor."""

    log = logging.getLogger("flops_fit_tests.logs_on_import")

    def __init__(self, width):
        super().__init__()
        self.layer = nn.Linear(2, width, bias=False)
        if not self.log.handlers:
            self.log.addHandler(logging.StreamHandler(sys.stderr))

    def forward(self, x):
        return self.layer(x).sum(-1, keepdim=True)


@torch.library.custom_op("flops_fit_tests::unseen", mutates_args=())
def unseen(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """A matrix product that no dispatched operation shows."""
    return torch.from_numpy(x.detach().numpy() @ weight.detach().numpy())


@unseen.register_fake
def _(x, weight):
    return x.new_empty(len(x), weight.shape[1])


unseen.register_autograd(lambda context, gradient: (gradient.clone(), None))


class Unseen(nn.Module):
    """2 → width, a hidden width × width product, → 1: 14·width FLOPs are counted per example."""

    def __init__(self, width):
        super().__init__()
        self.first, self.last = nn.Linear(2, width, bias=False), nn.Linear(width, 1, bias=False)
        self.weight = nn.Parameter(torch.randn(width, width))

    def forward(self, x):
        return self.last(unseen(self.first(x), self.weight))


class BadShape(Exception):
    """What a library's configuration raises, from the ValueError that it caught."""


class RefusesInItsOwnWords(nn.Module):
    """2 → width, a multiple of 8."""

    def __init__(self, width):
        super().__init__()
        try:
            if width % 8:
                raise ValueError("not allowed")
        except ValueError as error:
            raise BadShape(f"{width} is no multiple of 8") from error
        self.layer = nn.Linear(2, width, bias=False)

    def forward(self, x):
        return self.layer(x).sum(-1, keepdim=True)
