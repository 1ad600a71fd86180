"""Whether a loss is the mean over its targets, which everything here takes it for: tried out on a few examples."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from flops_fit.basics.random_state import isolated_random_state, seed_everything
from flops_fit.data.nested import batch_size, slice_batch
from flops_fit.data.targets import count_targets, ignored_target, shifts_labels
from flops_fit.loss import LossFn, batch_loss, model_loss

_EXAMPLES = 8
_TOLERATED = 0.01  # of the loss: rounding, and what balances experts, are far below


def doubt_of_mean(model: nn.Module, batch: Any, loss_fn: LossFn) -> str | None:
    """What to say where the loss of a few examples together is not the mean of theirs one by one, by their targets.

    In evaluation mode. None where it is, where the loss draws at random, or where it cannot be told.
    """
    was_training = model.training
    model.eval()
    try:
        with isolated_random_state(), torch.no_grad():
            return _doubt(model, batch, loss_fn)
    except Exception:  # the user's own, of an example alone or of tensors without examples: the step tells of others
        return None
    finally:
        model.train(was_training)


def _doubt(model: nn.Module, batch: Any, loss_fn: LossFn) -> str | None:
    count = min(_EXAMPLES, batch_size(batch))
    ignored, shifted = ignored_target(loss_fn), loss_fn is model_loss and shifts_labels(model)
    parts = [slice_batch(batch, place, place + 1) for place in range(count)]
    weights = [count_targets(part, ignored, shifted=shifted) for part in parts]
    together = slice_batch(batch, 0, count)
    seed_everything(0)
    whole = batch_loss(model, together, loss_fn).item()
    seed_everything(1)
    if count < 2 or not any(weights) or batch_loss(model, together, loss_fn).item() != whole:
        return None
    counted = [(part, weight) for part, weight in zip(parts, weights, strict=True) if weight]
    alone = [batch_loss(model, part, loss_fn).item() * weight for part, weight in counted]
    mean = sum(alone) / sum(weights)
    if abs(whole - mean) <= _TOLERATED * max(abs(whole), abs(mean)):
        return None
    return (
        f"the loss of {count} examples together is {whole:.4g}, and {mean:.4g} is the mean over their targets one by "
        "one: it adds up, compares shapes that are broadcast, or lets examples of a batch depend on each other, so "
        "that it is another loss for batches of other sizes. Average over the targets, if that is not meant"
    )
