"""How a batch becomes a loss, and what may be given as a loss function."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from flops_fit.errors import LossError

if TYPE_CHECKING:
    import torch

LossFn = Callable[[Any, Any], Any]


def validate_loss_fn(loss_fn: Any) -> LossFn:
    """Return `loss_fn` if it can be called as `loss_fn(outputs, targets)`; raise `LossError` (a TypeError) if not."""
    if loss_fn is None:
        raise LossError("loss_fn is None; give a function of (outputs, targets), such as torch.nn.CrossEntropyLoss()")
    if inspect.isclass(loss_fn):
        raise LossError(f"loss_fn is the class {loss_fn.__name__}, not an instance of it; give {loss_fn.__name__}()")
    if not callable(loss_fn):
        raise LossError(f"loss_fn = {loss_fn!r} cannot be called; give a function of (outputs, targets)")
    _check_arity(loss_fn)
    return loss_fn


def _check_arity(loss_fn: Any) -> None:
    target = getattr(loss_fn, "forward", loss_fn)
    try:
        signature = inspect.signature(target)
    except (TypeError, ValueError):  # built-ins without a signature: the first batch will tell
        return
    try:
        signature.bind(None, None)
    except TypeError as error:
        raise LossError(
            f"loss_fn{signature} cannot be called with two arguments ({error}); it must accept (outputs, targets)"
        ) from error


def cross_entropy(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Mean cross-entropy in nats over all targets.

    Shapes: outputs (..., classes), targets (...) of integers; leading dimensions are flattened, so classification
    (B, C) and language modelling (B, T, V) both fit.
    """
    from torch.nn import functional

    return functional.cross_entropy(outputs.reshape(-1, outputs.shape[-1]), targets.reshape(-1))


def batch_loss(model: Any, batch: Any, loss_fn: LossFn) -> torch.Tensor:
    """The scalar loss of one `(inputs, targets)` batch.

    Inputs that are a tuple or list are spread over the model's positional arguments, a mapping over its keywords.
    Raises `LossError` where the batch is no pair or the loss is no scalar.
    """
    inputs, targets = split_batch(batch)
    if isinstance(inputs, Mapping):
        outputs = model(**inputs)
    elif isinstance(inputs, tuple | list):
        outputs = model(*inputs)
    else:
        outputs = model(inputs)
    loss = loss_fn(outputs, targets)
    if getattr(loss, "numel", lambda: 0)() != 1:
        shape = tuple(loss.shape) if hasattr(loss, "shape") else type(loss).__name__
        raise LossError(f"loss_fn returned {shape} where one number is needed; average it over the batch")
    return loss.reshape(())


def split_batch(batch: Any) -> tuple[Any, Any]:
    """`(inputs, targets)` of a batch or an example; raises `LossError` where it is no pair."""
    if isinstance(batch, tuple | list) and len(batch) == 2:
        return batch[0], batch[1]
    shape = f"{type(batch).__name__} of {len(batch)}" if hasattr(batch, "__len__") else type(batch).__name__
    raise LossError(f"a batch is a {shape}; the dataset must yield pairs (inputs, targets)")
