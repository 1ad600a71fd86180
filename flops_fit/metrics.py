"""What may be measured of a finished model besides its loss: functions of model and batch, or of model and dataset."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch.nn import functional
from torch.utils.data import Subset

from flops_fit.data.nested import to_device
from flops_fit.data.study_data import open_examples
from flops_fit.data.targets import IGNORED, count_targets, shifts_labels
from flops_fit.errors import MetricError
from flops_fit.loss import model_outputs, split_batch

Metric = Callable[..., Any]
_TARGETS_AT_ONCE = 4096
OF_DATASET = "dataset"  # the name of the second argument of a metric that wants the whole held-out set


def wants_dataset(metric: Metric) -> bool:
    """Whether a metric wants the whole held-out set at once, which its second argument's name says."""
    try:
        parameters = list(inspect.signature(metric).parameters)
    except (TypeError, ValueError):
        return False
    return parameters[1:2] == [OF_DATASET]


def number_of(name: str, value: Any) -> float:
    """What a metric returned as a number; raises `MetricError` where it is none, or not finite."""
    if isinstance(value, torch.Tensor) and value.numel() != 1:
        raise MetricError(
            f"metric {name} returned a tensor of shape {tuple(value.shape)} where one number is needed; return the "
            "mean over the batch's targets"
        )
    try:
        number = float(value)
    except (TypeError, ValueError) as error:
        raise MetricError(
            f"metric {name} returned a {type(value).__name__} where one number is needed; return one"
        ) from error
    if not math.isfinite(number):
        raise MetricError(f"metric {name} is {number}; return a finite number, such as 0 where nothing is right")
    return number


def accuracy(model: Any, batch: Any, *, ignored: int = IGNORED) -> float:
    """Share of the batch's targets that the model's largest output names; those that are `ignored` do not count.

    Shapes: outputs (..., classes), targets (...) of integers. Of a model that computes its own loss the `logits` it
    returns are taken, or the first tensor; labels that it shifts itself are compared shifted. Raises `MetricError`
    where the outputs fit to no target.
    """
    logits, targets = _predictions("accuracy", model, batch)
    counted = targets != ignored
    right = (logits.argmax(-1) == targets) & counted
    return int(right.sum()) / max(int(counted.sum()), 1)


def bits_per_byte(model: Any, dataset: Any, *, ignored: int = IGNORED) -> float:
    """Bits that the model needs for each byte of the held-out text: cross-entropies over ln 2, added up, over bytes.

    So losses of different tokenizers can be compared. `dataset` says as `token_bytes` how many bytes each id is, or how
    many they are on average; text with a tokenizer does, token files with `bytes_per_token` (docs/data.md). Tokens of
    no byte, such as the end of a document, count neither above nor below, as in nanochat's `evaluate_bpb`. Outputs are
    as of `accuracy`. Raises `MetricError` where bytes are not known, or no target has any.
    """
    token_bytes = _token_bytes(dataset)
    nats, size = 0.0, 0.0
    for batch in _in_parts(model, dataset):
        with torch.no_grad():
            logits, targets = _predictions("bits_per_byte", model, batch)
        losses = functional.cross_entropy(
            logits.flatten(0, -2).float(), targets.flatten(), reduction="none", ignore_index=ignored
        )
        counted = targets.flatten() != ignored
        if isinstance(token_bytes, torch.Tensor):
            lengths = _looked_up(token_bytes, targets.flatten()[counted])
            nats += float(losses[counted][lengths > 0].double().sum())
            size += float(lengths.sum())
        else:
            nats += float(losses[counted].double().sum())
            size += int(counted.sum()) * token_bytes
    if not size:
        raise MetricError("bits_per_byte has no byte to count: no held-out target is text; take the metric out")
    return nats / math.log(2) / size


def _predictions(metric: str, model: Any, batch: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits (..., classes) and the targets (...) that they are of."""
    targets = split_batch(batch)[1]
    logits = _logits(model_outputs(model, batch))
    if shifts_labels(model):
        logits, targets = logits[:, :-1], targets[:, 1:]
    if logits.shape[:-1] != targets.shape:
        raise MetricError(
            f"{metric} needs outputs of shape {(*targets.shape, 'classes')} for targets of {tuple(targets.shape)}, and "
            f"the model returned {tuple(logits.shape)}; give a metric of your own"
        )
    return logits, targets


def _token_bytes(dataset: Any) -> torch.Tensor | float:
    while isinstance(dataset, Subset):
        dataset = dataset.dataset
    found = getattr(dataset, "token_bytes", None)
    if found is None:
        raise MetricError(
            f"bits_per_byte does not know the bytes of the tokens of this {type(dataset).__name__}; text with a "
            'tokenizer says them, token files by kwargs = { bytes_per_token = "gpt2" } (or a number) in [data], and a '
            "dataset of your own by an attribute token_bytes, of each id or as a number"
        )
    return float(found) if isinstance(found, int | float) else torch.as_tensor(np.array(found), dtype=torch.int64)


def _looked_up(token_bytes: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
    most = int(ids.max()) if len(ids) else 0
    if most >= len(token_bytes):
        raise MetricError(
            f"bits_per_byte: the data holds the token {most:,}, and the tokenizer has {len(token_bytes):,}; name the "
            "tokenizer that the tokens were made with"
        )
    return token_bytes.to(ids.device)[ids]


def _in_parts(model: Any, dataset: Any) -> Iterator[Any]:
    """Batches of a few thousand targets each, on the model's device: their logits are what takes memory."""
    examples = open_examples(dataset)
    device = next((part.device for part in model.parameters()), torch.device("cpu"))
    count = max(1, _TARGETS_AT_ONCE // max(1, count_targets(examples.first(1))))
    for batch in examples.in_order(count):
        yield to_device(batch, device)


def _logits(outputs: Any) -> torch.Tensor:
    if isinstance(outputs, Mapping) and "logits" in outputs:
        return outputs["logits"]
    if hasattr(outputs, "logits"):
        return outputs.logits
    parts = outputs if isinstance(outputs, tuple | list) else [outputs]
    found = next((part for part in parts if isinstance(part, torch.Tensor) and part.ndim > 1), None)
    if found is None:
        raise MetricError(
            f"the model returned a {type(outputs).__name__} without logits; return them, or give a metric of your own"
        )
    return found
