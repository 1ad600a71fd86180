"""How a batch becomes a loss, and what may be given as a loss function."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from flops_fit.errors import LossError
from flops_fit.loss_faults import of_inputs, of_loss, refuse_broadcast, sums_up

if TYPE_CHECKING:
    import torch

LossFn = Callable[[Any, Any], Any]
TARGET_NAMES = ("labels", "targets")
_GIVE_MODEL_LOSS = (
    "for a model that computes its own loss give loss_fn=flops_fit.loss.model_loss "
    '([loss] fn = "flops_fit.loss:model_loss"), which calls it with the whole batch'
)
_COMPUTES_ITS_OWN = f"it seems to compute its own loss; {_GIVE_MODEL_LOSS}, or have it return what loss_fn takes"


def validate_loss_fn(loss_fn: Any) -> LossFn:
    """Return `loss_fn` if it can be called as `loss_fn(outputs, targets)`; raise `LossError` (a TypeError) if not."""
    if loss_fn is None:
        raise LossError("loss_fn is None; give a function of (outputs, targets), such as torch.nn.CrossEntropyLoss()")
    if inspect.isclass(loss_fn):
        raise LossError(f"loss_fn is the class {loss_fn.__name__}, not an instance of it; give {loss_fn.__name__}()")
    if not callable(loss_fn):
        raise LossError(f"loss_fn = {loss_fn!r} cannot be called; give a function of (outputs, targets)")
    if sums_up(loss_fn):
        raise LossError(
            'loss_fn has reduction = "sum", so that it grows with the batch; give reduction = "mean", torch\'s default'
        )
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

    The model is then called with the whole batch: a mapping as keywords, a pair with its second part as the `labels` or
    `targets` that the model takes, else a tuple as arguments, anything else as it is; of a Lightning module the
    `training_step` is. Its loss is taken: `outputs.loss`, `outputs["loss"]`, or the one scalar of a tuple such as
    `(logits, loss)`. Labels that the model shifts itself are equal to `input_ids`.
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

    Inputs that are a tuple or list are spread over the model's positional arguments, a mapping over its keywords (its
    `labels` only where the model takes them). With `model_loss` a batch may be anything that the model takes; a
    Lightning module's `training_step` gets it. Raises `LossError` where the batch is no pair, the loss is no scalar, or
    the model plainly computes its own.
    """
    if loss_fn is model_loss:
        with _explained(batch):
            loss = model_loss(_own_step(model, batch))
    else:
        inputs, targets = split_batch(batch)
        with _explained(inputs):
            outputs = _outputs(model, inputs)
        loss = loss_of(loss_fn, outputs, targets)
    if isinstance(loss, float | int):
        raise LossError(
            f"loss_fn returned the number {loss!r}, which has no gradient; return the tensor, without .item()"
        )
    if getattr(loss, "numel", lambda: 0)() != 1:
        shape = tuple(loss.shape) if hasattr(loss, "shape") else type(loss).__name__
        raise LossError(f"loss_fn returned {shape} where one number is needed; average it over the batch")
    return loss.reshape(())


def loss_of(loss_fn: LossFn, outputs: Any, targets: Any) -> Any:
    """`loss_fn(outputs, targets)`; raises `LossError` where it is known what is wrong with them."""
    why = refuse_broadcast(loss_fn, outputs, targets)
    if why is not None:
        raise LossError(why)
    try:
        loss = loss_fn(outputs, targets)
    except (TypeError, ValueError, AttributeError, IndexError, RuntimeError) as error:
        if not isinstance(error, RuntimeError):
            _raise_if_own_loss(outputs, targets, error)
        why = of_loss(error, outputs, targets)
        if why is not None:
            raise LossError(why) from error
        raise
    if loss is None or isinstance(loss, tuple):
        _raise_if_own_loss(outputs, targets, None)
    return loss


@contextmanager
def _explained(inputs: Any) -> Iterator[None]:
    try:
        yield
    except (RuntimeError, ValueError) as error:
        why = of_inputs(error, inputs)
        if why is not None:
            raise LossError(why) from error
        raise


def model_outputs(model: Any, batch: Any) -> Any:
    """What a model returns for a batch: with its targets where it takes them by name, else for the inputs alone."""
    inputs, _ = split_batch(batch)
    takes = any(_takes(model, name, by_name=True) for name in TARGET_NAMES)
    return _own_step(model, batch) if takes else _outputs(model, inputs)


def _own_step(model: Any, batch: Any) -> Any:
    """What a model that computes its own loss returns for a batch; of a Lightning module its training step."""
    if _is_lightning(model):
        step = model.training_step
        return step(batch, 0) if _required(step) > 1 else step(batch)
    if isinstance(batch, tuple | list) and len(batch) == 2:
        name = next((name for name in TARGET_NAMES if _takes(model, name, by_name=True)), None)
        if name is not None and not isinstance(batch[0], Mapping):
            inputs = batch[0] if isinstance(batch[0], tuple | list) else (batch[0],)
            return model(*inputs, **{name: batch[1]})
    return _call(model, batch)


def _is_lightning(model: Any) -> bool:
    return all(callable(getattr(model, name, None)) for name in ("training_step", "configure_optimizers"))


def _required(function: Any) -> int:
    """How many arguments it cannot be called without."""
    ours = inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD
    return sum(
        item.kind in ours and item.default is item.empty for item in inspect.signature(function).parameters.values()
    )


def _outputs(model: Any, inputs: Any) -> Any:
    """`model(inputs)`, without the labels of a mapping that the model does not take."""
    if isinstance(inputs, Mapping):
        name = next((name for name in TARGET_NAMES if name in inputs), None)
        if name is not None and not _takes(model, name):
            inputs = {key: value for key, value in inputs.items() if key != name}
    try:
        return _call(model, inputs)
    except NotImplementedError as error:
        if _is_lightning(model) and "forward" in str(error):
            raise LossError(
                f"{type(model).__name__} has a training_step and no forward: {_COMPUTES_ITS_OWN}"
            ) from error
        raise
    except TypeError as error:
        wanted = re.search(rf"missing .*'({'|'.join(TARGET_NAMES)}|target)'", str(error))
        if wanted:
            raise LossError(f"{type(model).__name__} wants {wanted[1]}: {_COMPUTES_ITS_OWN}") from error
        one = re.search(rf"{type(model).__name__}.forward\(\) missing 1 required .*argument: '(\w+)'", str(error))
        if one:
            named = f"{type(model).__name__} wants {one[1]} besides the inputs"
            raise LossError(f"{named}; if that are the targets, {_COMPUTES_ITS_OWN}") from error
        raise


def _takes(model: Any, name: str, *, by_name: bool = False) -> bool:
    """Whether the model takes this keyword; `by_name` where it must say so itself."""
    try:
        parameters = inspect.signature(getattr(model, "forward", model)).parameters
    except (TypeError, ValueError):
        return not by_name
    swallows = any(item.kind is item.VAR_KEYWORD for item in parameters.values())
    return name in parameters or (swallows and not by_name)


def _raise_if_own_loss(outputs: Any, targets: Any, error: Exception | None) -> None:
    """Raise `LossError` where the outputs are those of a model that computes its own loss once it gets the targets."""
    shape, wanted = getattr(outputs, "shape", None), getattr(targets, "shape", None)
    if shape is None:
        returned = f"returned a {type(outputs).__name__}, which loss_fn cannot take"
    elif wanted is not None and len(shape) > 2 and len(wanted) > 1 and shape[1] == 1 < wanted[1]:
        returned = f"returned outputs of shape {tuple(shape)}, the last position's, for targets of {tuple(wanted)}"
    else:
        return
    raise LossError(f"the model {returned}: {_COMPUTES_ITS_OWN}") from error


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
        for name in TARGET_NAMES:
            if name in batch:
                return batch, batch[name]
        raise LossError(
            f"a batch has the keys {sorted(batch)} and none of them is labels or targets; add one, or "
            f"{_GIVE_MODEL_LOSS}"
        )
    if isinstance(batch, tuple | list) and len(batch) == 2:
        return batch[0], batch[1]
    shape = f"{type(batch).__name__} of {len(batch)}" if hasattr(batch, "__len__") else type(batch).__name__
    raise LossError(
        f"a batch is a {shape}; the dataset must yield pairs (inputs, targets) or mappings with labels, or "
        f"{_GIVE_MODEL_LOSS}"
    )


def inputs_of(batch: Any) -> Any:
    """What of a batch is no target; all of one that has no targets apart."""
    try:
        return split_batch(batch)[0]
    except LossError:
        return batch
