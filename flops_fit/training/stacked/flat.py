"""The parameters of several models as the rows of one matrix, and AdamW on it."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from flops_fit.training.stacked.member import Member

_MOMENTS = ("exp_avg", "exp_avg_sq")


@dataclass(kw_only=True)
class Flat:
    """Parameters of K models, of each those of `names` in one row; the models' own are views of it from then on, and
    so are the moments in their optimizers.

    Shapes: `values` (K, P), which has the gradient; `moments` two of (K, P).
    """

    names: Sequence[str]
    shapes: Sequence[torch.Size]
    values: torch.Tensor
    moments: tuple[torch.Tensor, ...]

    @classmethod
    def of(cls, members: Sequence[Member], names: Sequence[str]) -> Flat:
        """Taken from models and optimizers as they are."""
        rows = [[dict(member.model.named_parameters())[name] for name in names] for member in members]
        states = [member.optimizer.parts[0].state for member in members]
        values = torch.stack([torch.cat([item.detach().reshape(-1) for item in row]) for row in rows])
        moments = tuple(
            torch.stack(
                [
                    torch.cat([state[item][key].reshape(-1) if item in state else _zeros(item) for item in row])
                    for row, state in zip(rows, states, strict=True)
                ]
            )
            for key in _MOMENTS
        )
        made = cls(names=names, shapes=[item.shape for item in rows[0]], values=values, moments=moments)
        for at, (row, state) in enumerate(zip(rows, states, strict=True)):
            parts = zip(row, *(made.pieces(whole[at]) for whole in (values, *moments)), strict=True)
            for item, value, *own in parts:
                item.data, item.grad = value, None
                step = state[item]["step"] if item in state else torch.zeros((), device=item.device)
                state[item] = {"step": step, **dict(zip(_MOMENTS, own, strict=True))}
        values.requires_grad_()
        return made

    def pieces(self, row: torch.Tensor) -> list[torch.Tensor]:
        """One model's row as its parameters."""
        parts = row.split([shape.numel() for shape in self.shapes])
        return [part.view(shape) for part, shape in zip(parts, self.shapes, strict=True)]

    def parameters(self) -> list[torch.Tensor]:
        """Each parameter of all models, (K, ...); its gradient is one of `values`."""
        parts = self.values.split([shape.numel() for shape in self.shapes], dim=1)
        count = len(self.values)
        return [part.view(count, *shape) for part, shape in zip(parts, self.shapes, strict=True)]


def _zeros(parameter: torch.Tensor) -> torch.Tensor:
    return torch.zeros(parameter.numel(), dtype=parameter.dtype, device=parameter.device)


class StackedAdamW:
    """AdamW on the rows of flat parameters: `torch.optim.AdamW` with a group for each rate and weight decay there is.

    Weight decay is on the first of `flats`, the matrices; as `flops_fit.training.optimizer` has it.
    """

    def __init__(self, members: Sequence[Member], matrices: Flat | None, vectors: Flat | None, updates: int) -> None:
        self._members, self._flats = members, [flat for flat in (matrices, vectors) if flat is not None]
        self._rows: list[tuple[torch.Tensor, Flat, slice, Member]] = []
        groups = []
        for flat in self._flats:
            for member, rows in _runs(members):
                values = flat.values.detach()[rows]
                decay = member.job.recipe.weight_decay if flat is matrices else 0.0
                groups.append({"params": [values], "weight_decay": decay})
                self._rows.append((values, flat, rows, member))
        first = members[0]
        betas, fused = first.job.recipe.betas, first.device.type in ("cpu", "cuda")
        self._optimizer = torch.optim.AdamW(groups, lr=first.peak, betas=betas, fused=fused)
        for values, flat, rows, _ in self._rows:
            count = torch.tensor(float(updates), device=values.device)
            own = dict(zip(_MOMENTS, (moment[rows] for moment in flat.moments), strict=True))
            self._optimizer.state[values] = {"step": count, **own}

    def clip(self, greatest: float) -> None:
        """Each model's gradient, if its norm is above `greatest`, to that: `torch.nn.utils.clip_grad_norm_`."""
        grads = [flat.values.grad for flat in self._flats if flat.values.grad is not None]
        norms = torch.linalg.vector_norm(torch.stack([torch.linalg.vector_norm(grad, dim=1) for grad in grads]), dim=0)
        scale = (greatest / (norms + 1e-6)).clamp(max=1.0)
        for grad in grads:
            grad.mul_(scale[:, None])

    def step(self, factors: Sequence[float]) -> None:
        """One step, of each model at its peak rate times its factor."""
        of_member = {id(member): factor for member, factor in zip(self._members, factors, strict=True)}
        for group, (values, flat, rows, member) in zip(self._optimizer.param_groups, self._rows, strict=True):
            assert flat.values.grad is not None
            values.grad = flat.values.grad[rows]
            group["lr"] = member.peak * of_member[id(member)]
        self._optimizer.step()

    def zero_grad(self) -> None:
        """Forget all gradients."""
        for flat in self._flats:
            flat.values.grad = None


def _runs(members: Sequence[Member]) -> list[tuple[Member, slice]]:
    """The first of those that follow each other with one rate, schedule and weight decay, and their rows."""
    found, start = [], 0
    for _, same in itertools.groupby(members, key=rate_key):
        count = len(list(same))
        found.append((members[start], slice(start, start + count)))
        start += count
    return found


def rate_key(member: Member) -> tuple[float, ...]:
    """Equal for members whose rate and weight decay are equal at every step."""
    recipe = member.job.recipe
    return (member.peak, recipe.weight_decay, recipe.warmup_fraction, recipe.final_fraction)
