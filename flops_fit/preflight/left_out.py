"""Targets that a loss leaves out by its own code, which nothing else here can know: found by its gradients."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from flops_fit.basics.random_state import isolated_random_state
from flops_fit.data.targets import ignored_target
from flops_fit.loss import LossFn, loss_of, model_loss, model_outputs, split_batch


def doubt_of_targets(model: nn.Module, batch: Any, loss_fn: LossFn) -> str | None:
    """What to say where all targets of one value have no part in the loss, and are counted as tokens all the same.

    A target has none where the loss does not change with the outputs in its place. None where every counted one has a
    part, where those without are of several values (a hinge loss has such), of a model that computes its own loss, and
    where it cannot be told.
    """
    if loss_fn is model_loss:
        return None
    was_training = model.training
    model.eval()
    try:
        with isolated_random_state(), torch.enable_grad():
            return _doubt(model, batch, loss_fn)
    except Exception:  # the user's own code, or shapes that say nothing: the step tells of what fails
        return None
    finally:
        model.train(was_training)


def _doubt(model: nn.Module, batch: Any, loss_fn: LossFn) -> str | None:
    targets, outputs = split_batch(batch)[1], model_outputs(model, batch)
    if not isinstance(outputs, torch.Tensor) or targets.is_floating_point() or targets.ndim < 2:
        return None
    outputs = outputs.detach().requires_grad_()
    (slope,) = torch.autograd.grad(loss_of(loss_fn, outputs, targets), outputs)
    of_each = _by_target(slope, targets.shape)
    counted = targets != ignored_target(loss_fn)
    without = counted & (of_each == 0)
    values = targets[without].unique()
    if len(values) != 1 or bool((targets[counted & ~without] == values).any()):
        return None
    value, share = int(values), float(without.sum() / counted.sum())
    name = getattr(loss_fn, "__name__", type(loss_fn).__name__)
    return (
        f"targets of {value}, {share:.0%} of those in a batch, have no part in the loss, and are counted as tokens; "
        f"where the loss leaves them out, say so: {name}.ignore_index = {value} beside its definition, or ignore_index "
        "as its keyword ([loss] kwargs)"
    )


def _by_target(slope: torch.Tensor, shape: torch.Size) -> torch.Tensor:
    """How much the loss changes with the outputs at each target: the classes, in the last place or the second, summed.

    Raises `ValueError` where outputs are of no such shape.
    """
    for place in (-1, 1):
        if slope.ndim == len(shape) + 1 and slope.abs().sum(place).shape == shape:
            return slope.abs().sum(place)
    if slope.ndim == 2 and len(slope) == shape.numel():  # flattened by the model
        return slope.abs().sum(-1).reshape(shape)
    raise ValueError(f"outputs of shape {tuple(slope.shape)} for targets of {tuple(shape)}")
