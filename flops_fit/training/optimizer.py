"""The optimizer of a training: AdamW, or what the user's own function of model, peak rate and recipe returns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from flops_fit.basics.arguments import is_number
from flops_fit.errors import StudyError
from flops_fit.processes.blame import said_by
from flops_fit.recipe.recipe import Recipe

_SHOWN = 5


@dataclass(frozen=True, kw_only=True)
class ScheduledOptimizer:
    """One or several torch optimizers that step together, each group at its own peak rate times the schedule's factor.

    `peaks` has the peak of every group, in the order of `groups`.
    """

    parts: tuple[torch.optim.Optimizer, ...]
    peaks: tuple[float, ...]

    @property
    def groups(self) -> list[dict[str, Any]]:
        """The parameter groups of all parts."""
        return [group for part in self.parts for group in part.param_groups]

    def set_factor(self, factor: float) -> None:
        """Set every group's learning rate to `factor` times its peak."""
        for group, peak in zip(self.groups, self.peaks, strict=True):
            group["lr"] = peak * factor

    def set_second_beta(self, beta: float | None) -> None:
        """Set the second of `betas` in every group that has them; None leaves them as they are."""
        for group in self.groups if beta is not None else ():
            if "betas" in group:
                group["betas"] = (group["betas"][0], beta)

    def zero_grad(self) -> None:
        """Forget all gradients."""
        for part in self.parts:
            part.zero_grad(set_to_none=True)

    def step(self) -> None:
        """One step of every part."""
        for part in self.parts:
            part.step()


def make_optimizer(
    model: torch.nn.Module, recipe: Recipe, device: torch.device, peak_rate: float
) -> ScheduledOptimizer:
    """The optimizer of `recipe` for `model`, which is on `device`; a group without a rate of its own has `peak_rate`.

    Raises `StudyError` where the user's own function fails, returns no optimizer, or one that leaves out parameters,
    holds some twice, holds others than the model's, or is on another device.
    """
    if callable(recipe.optimizer):
        parts = _of_function(model, recipe, peak_rate)
        _refuse_unless_complete(parts, model, device)
    else:
        parts = (_adamw(model, recipe, device, peak_rate),)
    groups = [group for part in parts for group in part.param_groups]
    return ScheduledOptimizer(parts=parts, peaks=tuple(_peak(group, peak_rate) for group in groups))


def refuse_fixed_rates(
    optimizer: ScheduledOptimizer, model: torch.nn.Module, recipe: Recipe, device: torch.device, peak_rate: float
) -> None:
    """Raise `StudyError` where the rate of no group of a user's own `optimizer` follows the peak rate.

    Then the recipe's learning rate decides nothing, and torch's default may be what trains every size.
    """
    doubled = make_optimizer(model, recipe, device, 2 * peak_rate)
    if callable(recipe.optimizer) and doubled.peaks == optimizer.peaks:
        rates = ", ".join(f"{peak:g}" for peak in dict.fromkeys(optimizer.peaks))
        raise StudyError(
            f"training.optimizer gives its groups the learning rates {rates} whatever peak_rate is, so learning_rate "
            "decides nothing; give its optimizers lr=peak_rate or a multiple of it"
        )


def _adamw(model: torch.nn.Module, recipe: Recipe, device: torch.device, peak_rate: float) -> torch.optim.AdamW:
    """AdamW with weight decay on matrices only (vectors are biases and gains, which it would only shrink)."""
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    groups = [
        {"params": [p for p in parameters if p.ndim >= 2], "weight_decay": recipe.weight_decay},
        {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
    ]
    present = [group for group in groups if group["params"]]
    return torch.optim.AdamW(present, lr=peak_rate, betas=recipe.betas, fused=device.type in ("cpu", "cuda"))


def _of_function(model: torch.nn.Module, recipe: Recipe, peak_rate: float) -> tuple[torch.optim.Optimizer, ...]:
    assert callable(recipe.optimizer)
    try:
        made = recipe.optimizer(model, peak_rate, recipe)
    except (Exception, SystemExit) as error:  # of the user's own code
        raise StudyError(f"training.optimizer raised {said_by(error)}; correct it there") from error
    parts = tuple(made) if isinstance(made, list | tuple) else (made,)
    if not parts or not all(isinstance(part, torch.optim.Optimizer) for part in parts):
        raise StudyError(
            f"training.optimizer returned {made!r:.120}; it must return a torch.optim.Optimizer, or a list of them"
        )
    return parts


def _refuse_unless_complete(
    parts: Sequence[torch.optim.Optimizer], model: torch.nn.Module, device: torch.device
) -> None:
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    held = [parameter for part in parts for group in part.param_groups for parameter in group["params"]]
    counts: dict[int, int] = {}
    for parameter in held:
        counts[id(parameter)] = counts.get(id(parameter), 0) + 1
    missing = [name for name, item in model.named_parameters() if item.requires_grad and id(item) not in counts]
    twice = [names.get(item, "one") for item, count in counts.items() if count > 1]
    foreign = [f"one of shape {tuple(item.shape)}" for item in held if id(item) not in names]
    elsewhere = [f"{names[id(item)]} on {item.device}" for item in held if item.device.type != device.type]
    for found, problem in (
        (foreign, "holds parameters that are not the model's: {}; take them from the model it is given"),
        (missing, "leaves out trainable parameters: {}; add them to a group, or set their requires_grad = False"),
        (twice, "holds parameters in two groups: {}; each must be in one"),
        (elsewhere, f"holds parameters that are not on {device}: {{}}; leave the model on the device it is on"),
    ):
        if found:
            more = [f"and {len(found) - _SHOWN} more"] if len(found) > _SHOWN else []
            raise StudyError(f"training.optimizer {problem.format(', '.join([*found[:_SHOWN], *more]))}")


def _peak(group: dict[str, Any], peak_rate: float) -> float:
    """The group's own peak; sets it where there is none."""
    given = group.setdefault("lr", peak_rate)
    rate = given.item() if isinstance(given, torch.Tensor) and given.numel() == 1 else given
    if not is_number(rate) or rate < 0:
        raise StudyError(f"training.optimizer has a group with lr = {rate!r:.120}; it must be a number of at least 0")
    return float(rate)
