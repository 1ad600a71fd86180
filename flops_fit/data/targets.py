"""Targets that enter the loss: which of a batch do, and how many tokens an example therefore has."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from flops_fit.basics.random_state import seed_everything
from flops_fit.data.batches import Examples
from flops_fit.data.nested import batch_size, tensors_in
from flops_fit.errors import DataError, LossError
from flops_fit.loss import split_batch

IGNORED = -100  # of torch's and Hugging Face's losses
_SEED = 20220329  # of datasets that draw at random
_FEW, _MANY = 64, 2048  # examples looked at, and of those that differ
_BY_CHANCE = 1.1  # so many times as many targets may a batch have than its examples alone, if a collate_fn draws them


def ignored_target(loss_fn: Any, kwargs: Mapping[str, Any] | None = None) -> int:
    """The target that a loss leaves out: its `ignore_index` (an attribute, or a keyword it is made with), else -100."""
    given = {**getattr(loss_fn, "keywords", {}), **(kwargs or {})}
    value = given.get("ignore_index", getattr(loss_fn, "ignore_index", IGNORED))
    return value if isinstance(value, int) else IGNORED


def count_targets(batch: Any, ignored: int = IGNORED, *, shifted: bool = False) -> int:
    """How many targets of a batch enter its mean loss: elements of a tensor other than `ignored`.

    `shifted` for a model that predicts each label from those before it, so that the first of an example is none. A
    batch without targets of its own, which only a model that computes its loss takes, counts by its token ids. Where
    there are none, or several tensors of targets, every example counts as one.
    """
    targets = _targets(batch)
    if targets is None:
        return batch_size(batch)
    if shifted and targets.ndim > 1:
        targets = targets[:, 1:]
    signed = not targets.is_floating_point() and targets.dtype not in (torch.uint8, torch.bool)
    return int((targets != ignored).sum()) if signed else targets.numel()


def shifts_labels(model: Any) -> bool:
    """Whether a model says that it predicts each label from those before it, as Hugging Face's causal ones do."""
    return getattr(model, "loss_type", None) == "ForCausalLM"


def _targets(batch: Any) -> torch.Tensor | None:
    try:
        targets = split_batch(batch)[1]
    except LossError:  # a batch for a model that finds its targets itself
        first = next(iter(tensors_in(batch)), None)
        return first if first is not None and first.ndim == 2 and first.dtype in (torch.int32, torch.int64) else None
    return targets if isinstance(targets, torch.Tensor) and targets.ndim > 0 else None


@dataclass(frozen=True, kw_only=True)
class TokenCount:
    """How tokens are counted.

    Attributes:
        per_example: tokens of an example, on average where examples differ; a whole number where they do not.
        share: of all target positions in batches, those that enter the loss.
        varies: whether examples differ.
        ignored: the target that is not counted.
        counts_padding: whether a batch has more targets than its examples have alone.
    """

    per_example: int | float
    share: float = 1.0
    varies: bool = False
    ignored: int = IGNORED
    counts_padding: bool = False

    @property
    def note(self) -> str | None:
        """What a reader should know of it; None where every position of every example is a target."""
        if self.share == 1.0 and not self.varies:
            return None
        length = f"{self.per_example:.4g} an example{' on average' if self.varies else ''}"
        return (
            f"tokens are the targets that enter the loss, {length}; of the positions in a batch these are "
            f"{self.share:.0%}, the others are padding or ignored. To count otherwise set tokens_per_example"
        )


def count_tokens(examples: Examples, ignored: int = IGNORED) -> TokenCount:
    """Tokens of an example: its integer targets that enter the loss (of a sequence of T up to T), otherwise 1.

    64 examples, evenly spaced, are looked at one by one and as a batch, and 2,048 where they differ (of a stream the
    first). The global generators are seeded for it. Raises `DataError` where none of them has a target.
    """
    seed_everything(_SEED)
    first = _targets(examples.first(1))
    if first is None or first.ndim < 2 or first.is_floating_point():
        return TokenCount(per_example=1)
    few = examples.spread(_FEW)
    alone, together = _alone(examples, few, ignored), examples.batch_of(few)
    counted, positions = count_targets(together, ignored), _targets(together)
    assert positions is not None
    varies = min(alone) < max(alone)
    counts_padding = counted > (1.0 if counted == positions.numel() else _BY_CHANCE) * sum(alone)
    if varies:
        alone = _alone(examples, examples.spread(_MANY), ignored)
    if not any(alone):
        raise DataError(f"none of {len(alone)} examples has a target: all are {ignored}, which the loss leaves out")
    per_example = sum(alone) / len(alone) if varies else alone[0]
    return TokenCount(
        per_example=per_example,
        share=per_example * len(few) / positions.numel(),
        varies=varies,
        ignored=ignored,
        counts_padding=counts_padding,
    )


def _alone(examples: Examples, items: list[Any], ignored: int) -> list[int]:
    return [count_targets(examples.batch_of([item]), ignored) for item in items]
