"""The held-out loss, other metrics, and the weights as one hash."""

from __future__ import annotations

import hashlib
import itertools
import time
from collections.abc import Iterator, Mapping
from typing import Any

import torch

from flops_fit.basics.random_state import isolated_random_state, seed_everything
from flops_fit.data.batches import Examples
from flops_fit.data.nested import to_device
from flops_fit.data.targets import count_targets, ignored_target, shifts_labels
from flops_fit.errors import DataError
from flops_fit.loss import LossFn, batch_loss, model_loss
from flops_fit.metrics import Metric, number_of, wants_dataset
from flops_fit.processes.alive import still_alive
from flops_fit.training.batch_faults import explained

_SEED = 20220329  # of the draws in the held-out loss


def held_out_loss(
    model: torch.nn.Module,
    held_out: Examples,
    loss_fn: LossFn,
    batch_examples: int,
    device: torch.device,
    autocast: Any,
    draws: int = 1,
) -> float:
    """Mean loss over all held-out targets, in evaluation mode, without gradients; every example counts `draws` times.

    What model or data draw at random is the same for every experiment, as each batch begins from a seed of its own,
    another one for each of the draws. Raises `DataError` where no example has a target.
    """
    was_training, total, count = model.training, 0.0, 0
    ignored, shifted = ignored_target(loss_fn), loss_fn is model_loss and shifts_labels(model)
    model.eval()
    with isolated_random_state(), torch.no_grad(), autocast:
        for batch in _batches(held_out, batch_examples, draws):
            targets = count_targets(batch, ignored, shifted=shifted)
            if targets:
                with explained(model, batch, held_out.dataset):
                    total += batch_loss(model, to_device(batch, device), loss_fn).item() * targets
                count += targets
            still_alive()
    model.train(was_training)
    if count == 0:
        raise DataError(f"no held-out example has a target: all are {ignored}, which the loss leaves out; give others")
    return total / count


def held_out_metrics(
    model: torch.nn.Module,
    held_out: Examples,
    metrics: Mapping[str, Metric],
    loss_fn: LossFn,
    batch_examples: int,
    device: torch.device,
    autocast: Any,
    draws: int = 1,
) -> dict[str, float]:
    """Each metric's mean over all held-out targets, weighed as `held_out_loss` does; one of the whole dataset as it is,
    of several draws their mean.

    Batches without a target are left out. Raises `MetricError` for what is no finite number.
    """
    of_batches = {name: metric for name, metric in metrics.items() if not wants_dataset(metric)}
    was_training, totals, count = model.training, dict.fromkeys(of_batches, 0.0), 0
    ignored, shifted = ignored_target(loss_fn), loss_fn is model_loss and shifts_labels(model)
    model.eval()
    with isolated_random_state(), torch.no_grad(), autocast:
        for batch in _batches(held_out, batch_examples, draws) if of_batches else ():
            targets = count_targets(batch, ignored, shifted=shifted)
            if not targets:
                continue
            there = to_device(batch, device)
            for name, metric in of_batches.items():
                totals[name] += number_of(name, metric(model, there)) * targets
            count += targets
            still_alive()
        found = {name: total / max(count, 1) for name, total in totals.items()}
        for name in metrics.keys() - found.keys():
            found[name] = _of_dataset(name, metrics[name], model, held_out.as_dataset(), draws)
    model.train(was_training)
    return {name: found[name] for name in metrics}


def _of_dataset(name: str, metric: Metric, model: torch.nn.Module, dataset: Any, draws: int) -> float:
    total = 0.0
    for draw in range(draws):
        seed_everything(_SEED, *_of_draw(draw))
        total += number_of(name, metric(model, dataset))
    return total / draws


_MOST_OF_STREAM = 1 << 20  # held-out examples of a stream: one that gives more has most likely no end
_SECONDS_TO_READ = 5.0  # of it, before anything is trained


def _batches(held_out: Examples, batch_examples: int, draws: int) -> Iterator[Any]:
    """All held-out examples in batches, `draws` times; each batch is read and used from a seed of its own."""
    for draw in range(draws):
        batches = held_out.in_order(batch_examples)
        for number in itertools.count():
            seed_everything(_SEED, number, *_of_draw(draw))
            batch = next(batches, None)
            if batch is None:
                break
            if held_out.num_examples is None and number * batch_examples >= _MOST_OF_STREAM:
                raise _endless()
            yield batch


def refuse_endless(held_out: Examples) -> None:
    """Raise `DataError` for a held-out stream that is seen not to end within a few seconds of reading."""
    if held_out.num_examples is not None:
        return
    until = time.monotonic() + _SECONDS_TO_READ
    for number, _ in enumerate(iter(held_out.dataset)):
        if number >= _MOST_OF_STREAM:
            raise _endless()
        if time.monotonic() > until:
            return


def _endless() -> DataError:
    return DataError(
        f"the held-out stream gave {_MOST_OF_STREAM:,} examples and did not end; give its first ones alone, such as by "
        "itertools.islice in __iter__"
    )


def _of_draw(draw: int) -> tuple[int, ...]:
    """What of a seed is this draw's; nothing of the first, so that a single one is as it was before there were more."""
    return (draw,) if draw else ()


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
