"""The held-out loss, and the weights as one hash."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import torch

from flops_fit.data.batches import Examples
from flops_fit.data.nested import batch_size, to_device
from flops_fit.loss import LossFn, batch_loss
from flops_fit.processes.alive import still_alive


def held_out_loss(
    model: torch.nn.Module,
    held_out: Examples,
    loss_fn: LossFn,
    batch_examples: int,
    device: torch.device,
    autocast: Any,
) -> float:
    """Mean loss over all held-out examples, in evaluation mode, without gradients."""
    was_training, total, count = model.training, 0.0, 0
    model.eval()
    with torch.no_grad(), autocast:
        for batch in held_out.in_order(batch_examples):
            size = batch_size(batch)
            total += batch_loss(model, to_device(batch, device), loss_fn).item() * size
            count += size
            still_alive()
    model.train(was_training)
    return total / count


def weights_sha256(model: torch.nn.Module) -> str:
    """SHA-256 over names and bytes of all parameters and buffers."""
    return tensors_sha256(model.state_dict())


def tensors_sha256(named: Mapping[str, Any]) -> str:
    """SHA-256 over names, types, shapes and bytes of those that are tensors."""
    digest = hashlib.sha256()
    for name, value in sorted(named.items()):
        if isinstance(value, torch.Tensor):
            digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
            digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
