"""What may be measured of a finished model besides its loss: functions of model and batch, or of model and dataset."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping
from typing import Any

import torch

from flops_fit.data.targets import IGNORED, shifts_labels
from flops_fit.errors import MetricError
from flops_fit.loss import model_outputs, split_batch

Metric = Callable[..., Any]
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
    targets = split_batch(batch)[1]
    logits = _logits(model_outputs(model, batch))
    if shifts_labels(model):
        logits, targets = logits[:, :-1], targets[:, 1:]
    if logits.shape[:-1] != targets.shape:
        raise MetricError(
            f"accuracy needs outputs of shape {(*targets.shape, 'classes')} for targets of {tuple(targets.shape)}, and "
            f"the model returned {tuple(logits.shape)}; give a metric of your own"
        )
    counted = targets != ignored
    right = (logits.argmax(-1) == targets) & counted
    return int(right.sum()) / max(int(counted.sum()), 1)


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
