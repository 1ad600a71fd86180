"""Several models of one shape as one: a step of all at once, by `torch.func`."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import nn
from torch.func import functional_call, vmap
from torch.nn.attention import SDPBackend, sdpa_kernel

from flops_fit.basics.devices import autocast
from flops_fit.loss import LossFn, batch_loss
from flops_fit.training.stacked.batches import StackedBatch
from flops_fit.training.stacked.flat import Flat, StackedAdamW, rate_key
from flops_fit.training.stacked.member import Member


class CannotStack(Exception):
    """Why experiments cannot be trained at once, or not any further; each is then trained alone."""


class Stack:
    """The models of `members` as one: parameters, buffers and moments of each are views of it from then on.

    All members have taken the same number of steps. `members` are in its own order: those of one rate together.
    """

    def __init__(self, members: Sequence[Member]) -> None:
        self.members = sorted(members, key=rate_key)
        counts = {member.updates for member in members}
        if len(counts) > 1:
            raise CannotStack("their optimizers have taken different numbers of steps")
        self.updates = counts.pop()
        first = self.members[0].model
        _refuse_types(first)
        trained = {name: item for name, item in first.named_parameters() if item.requires_grad}
        matrices = [name for name, item in trained.items() if item.ndim >= 2]  # which alone have weight decay
        vectors = [name for name, item in trained.items() if item.ndim < 2]
        self._flats = [Flat.of(self.members, names) if names else None for names in (matrices, vectors)]
        fixed = _stacked_in_place([_fixed(member.model) for member in self.members])
        self._fixed = [*fixed.values()]
        self._names = [*matrices, *vectors, *fixed]
        self._names_to = [*_all_names(first, self._names)]
        self._optimizer = StackedAdamW(self.members, self._flats[0], self._flats[1], self.updates)
        self._loss_of = _LossOf(first, self.members[0].job.loss_fn)

    def losses(self, batch: StackedBatch) -> list[float]:
        """Each member's mean loss on its batch, in the order of `members`; leaves the gradients."""
        self._optimizer.zero_grad()
        device, recipe = self.members[0].device, self.members[0].job.recipe
        own = [part for flat in self._flats if flat is not None for part in flat.parameters()]
        count = len(self._names)

        def loss(*given: torch.Tensor) -> Any:
            named = {name: given[at] for name, at in self._names_to}
            return functional_call(self._loss_of, named, (batch.with_tensors(given[count:]),), tie_weights=False)

        moved = [tensor.to(device, non_blocking=True) for tensor in batch.tensors]
        with autocast(recipe.precision, device), _attention(device):
            losses = vmap(loss, in_dims=(*(0,) * count, *batch.in_dims), randomness="error")(*own, *self._fixed, *moved)
        losses.sum().backward()
        return losses.detach().tolist()

    def update(self, factors: Sequence[float]) -> None:
        """One optimizer step from the gradients there are, at each member's peak rate times its factor."""
        clip = self.members[0].job.recipe.gradient_clip
        if clip is not None:
            self._optimizer.clip(clip)
        self._optimizer.step(factors)
        self.updates += 1

    def settle(self) -> None:
        """Have the members' own optimizers know how many steps were taken."""
        for member in self.members:
            member.set_updates(self.updates)

    def gradients(self, at: int) -> dict[str, torch.Tensor]:
        """Name → gradient of one member, as it was when last updated."""
        found: dict[str, torch.Tensor] = {}
        for flat in self._flats:
            if flat is not None and flat.values.grad is not None:
                found |= dict(zip(flat.names, flat.pieces(flat.values.grad[at]), strict=True))
        return found


class _LossOf(nn.Module):
    """The loss of a batch as a module, whose parameters are the model's."""

    def __init__(self, model: nn.Module, loss_fn: LossFn) -> None:
        super().__init__()
        self.model = model
        self._held = (loss_fn,)  # in a tuple, as its own parameters, if it has any, are no model's

    def forward(self, batch: Any) -> torch.Tensor:
        """`flops_fit.loss.batch_loss`."""
        return batch_loss(self.model, batch, self._held[0])


def _attention(device: torch.device) -> Any:
    """On a CPU attention is written out: its fused kernel takes one model after the other."""
    return sdpa_kernel(SDPBackend.MATH) if device.type == "cpu" else contextlib.nullcontext()


def _refuse_types(model: nn.Module) -> None:
    types = {item.dtype for item in model.parameters() if item.requires_grad}
    if len(types) != 1:
        names = ", ".join(sorted(str(item).removeprefix("torch.") for item in types)) or "none"
        raise CannotStack(f"its parameters are of {len(types)} types ({names})")


def _fixed(model: nn.Module) -> dict[str, torch.Tensor]:
    """What of a model no gradient changes: buffers, and parameters that are not trained."""
    return {
        **{name: item for name, item in model.named_parameters() if not item.requires_grad},
        **dict(model.named_buffers()),
    }


def _all_names(model: nn.Module, names: Sequence[str]) -> Iterator[tuple[str, int]]:
    """Each name under which a module of `_LossOf` has one of `names`, tied ones too, and the place of that."""
    held = [*model.named_parameters(remove_duplicate=False), *model.named_buffers(remove_duplicate=False)]
    places = {id(item): names.index(name) for name, item in held if name in set(names)}
    for name, item in held:
        yield f"model.{name}", places[id(item)]


def _stacked_in_place(of_members: Sequence[dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
    """Each tensor of all members as one, (K, ...), of which theirs are views from then on."""
    stacked = {name: torch.stack([own[name].detach() for own in of_members]) for name in of_members[0]}
    for name, whole in stacked.items():
        for at, own in enumerate(of_members):
            own[name].data = whole[at]
    return stacked
