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


def model_loss(outputs: Any, targets: Any = None) -> torch.Tensor:
    """For models that compute their own loss, such as Hugging Face's: give this as `loss_fn`.

    The model is then called with the whole batch (a mapping as keywords, a tuple as arguments) and its loss is taken:
    `outputs.loss`, `outputs["loss"]`, or the one scalar of a tuple such as `(logits, loss)`. Labels are shifted by the
    model, so datasets give `labels` equal to `input_ids`.
    """
    if isinstance(outputs, Mapping) and "loss" in outputs:
        return outputs["loss"]
    if getattr(outputs, "loss", None) is not None:
        return outputs.loss
    parts = outputs if isinstance(outputs, tuple | list) else [outputs]
    scalars = [part for part in parts if getattr(part, "numel", lambda: 0)() == 1]
    if len(scalars) != 1:
        kind = type(outputs).__name__
        raise LossError(f"the model returned a {kind} without a loss; return one, or give loss_fn(outputs, targets)")
    return scalars[0]


def batch_loss(model: Any, batch: Any, loss_fn: LossFn) -> torch.Tensor:
    """The scalar loss of one batch: `loss_fn(model(inputs), targets)` of a pair, or the model's own (`model_loss`).

    Inputs that are a tuple or list are spread over the model's positional arguments, a mapping over its keywords.
    Raises `LossError` where the batch is no pair or the loss is no scalar.
    """
    if loss_fn is model_loss:
        loss = model_loss(_call(model, batch))
    else:
        inputs, targets = split_batch(batch)
        loss = loss_fn(_call(model, inputs), targets)
    if getattr(loss, "numel", lambda: 0)() != 1:
        shape = tuple(loss.shape) if hasattr(loss, "shape") else type(loss).__name__
        raise LossError(f"loss_fn returned {shape} where one number is needed; average it over the batch")
    return loss.reshape(())


def _call(model: Any, inputs: Any) -> Any:
    if isinstance(inputs, Mapping):
        return model(**inputs)
    return model(*inputs) if isinstance(inputs, tuple | list) else model(inputs)


def split_batch(batch: Any) -> tuple[Any, Any]:
    """`(inputs, targets)` of a batch or an example.

    Of a mapping, targets are its `labels` (or `targets`), which the model gets too. Raises `LossError` for anything
    that is neither a pair nor such a mapping.
    """
    if isinstance(batch, Mapping):
        for name in ("labels", "targets"):
            if name in batch:
                return batch, batch[name]
        raise LossError(f"a batch has the keys {sorted(batch)} and none of them is labels or targets; add one")
    if isinstance(batch, tuple | list) and len(batch) == 2:
        return batch[0], batch[1]
    shape = f"{type(batch).__name__} of {len(batch)}" if hasattr(batch, "__len__") else type(batch).__name__
    raise LossError(f"a batch is a {shape}; the dataset must yield pairs (inputs, targets) or mappings with labels")
