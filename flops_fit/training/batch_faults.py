"""What of a batch does not fit its model: said beside the error, or refused where training would not even fail."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from flops_fit.data.nested import tensors_in
from flops_fit.data.targets import IGNORED, shifts_labels
from flops_fit.errors import DataError, LossError
from flops_fit.loss import LossFn, model_loss, split_batch

_OUT_OF_RANGE = ("index out of range", "is out of bounds", "device-side assert")


@contextmanager
def explained(model: nn.Module, batch: Any, dataset: Any = None) -> Iterator[None]:
    """The body takes a step on `batch` (on the CPU); an error of what it holds gets a note with cause and remedy."""
    try:
        yield
    except (IndexError, RuntimeError) as error:
        note = _cause(str(error), model, batch, dataset)
        if note is not None:
            error.add_note(note)
        raise


def _cause(said: str, model: nn.Module, batch: Any, dataset: Any) -> str | None:
    if not any(words in said for words in _OUT_OF_RANGE):
        return None
    if f"Target {IGNORED} " in said:
        return (
            f"{IGNORED} marks what is no target, and this loss takes it for a class: give it ignore_index = {IGNORED}, "
            "which is torch's default, or, for text and token files that should be predicted over the ends of "
            "documents, kwargs = { across_documents = true } in [data] or no separator"
        )
    rows = sorted({part.num_embeddings for part in model.modules() if isinstance(part, nn.Embedding)})
    greatest = _greatest(batch, dataset)
    if not rows or greatest is None or greatest < rows[0]:
        return None
    there = " and ".join(f"{count:,}" for count in rows)
    return (
        f"the data holds the token {greatest:,}, and the model's embeddings have {there} rows: "
        f"give it a vocabulary of {greatest + 1:,}"
    )


def _greatest(batch: Any, dataset: Any) -> int | None:
    known = getattr(dataset, "greatest_token", None)
    whole = [part for part in tensors_in(batch) if part.dtype in (torch.int32, torch.int64) and part.numel()]
    return known if isinstance(known, int) else max((int(part.max()) for part in whole), default=None)


def refuse_shifted_twice(model: nn.Module, batch: Any, loss_fn: LossFn) -> None:
    """Raise `DataError` where targets are the tokens one later already, and the model shifts them once more.

    It would learn to predict each token from those up to two before, at a loss that looks like any other.
    """
    if loss_fn is not model_loss or not shifts_labels(model):
        return
    try:
        inputs, targets = split_batch(batch)
    except LossError:
        return
    inputs = next(iter(tensors_in(inputs)), None)
    if not isinstance(targets, torch.Tensor) or inputs is None or inputs.shape != targets.shape or inputs.ndim < 2:
        return
    if torch.equal(inputs, targets) or inputs.shape[1] < 2:
        return
    later, counted = targets[:, :-1], targets[:, :-1] != IGNORED
    if counted.any() and torch.equal(later[counted], inputs[:, 1:][counted]):
        raise DataError(
            f"the targets are the tokens one later, and {type(model).__name__} shifts its labels itself, so that it "
            'would predict two ahead; give labels equal to the inputs: [data] kwargs = { form = "labels" } for a path'
        )
