"""What several trainings read for one step, as one batch of batches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch.utils.data import default_collate

from flops_fit.data.batches import epoch_order
from flops_fit.data.nested import map_leaves, tensors_in

if TYPE_CHECKING:
    from flops_fit.data.batches import Examples
    from flops_fit.training.stacked.member import Member


class Unequal(Exception):
    """The batches of several trainings differ in more than the numbers in their tensors."""


@dataclass(frozen=True, kw_only=True)
class StackedBatch:
    """The batches of K trainings.

    Attributes:
        tensors: of the batch in order, each (K, ...), or as it is where all trainings have the same.
        in_dims: 0 or None for each of them accordingly.
        like: what holds them, of which the tensors are replaced.
    """

    tensors: list[torch.Tensor]
    in_dims: list[int | None]
    like: Any

    def with_tensors(self, tensors: Sequence[torch.Tensor]) -> Any:
        """One training's batch of its `tensors`."""
        if type(self.like) is tuple and len(self.like) == len(tensors):  # the usual pair, with no walk through it
            return tuple(tensors)
        left = iter(tensors)
        return map_leaves(lambda leaf: next(left) if isinstance(leaf, torch.Tensor) else leaf, self.like)

    def of(self, at: int) -> Any:
        """The batch of training number `at`."""
        own = [item if dim is None else item[at] for item, dim in zip(self.tensors, self.in_dims, strict=True)]
        return self.with_tensors(own)


class StackedReader:
    """Reads for `members` in their order, for each in the order of its own seed from where it is."""

    def __init__(self, examples: Examples, members: Sequence[Member]) -> None:
        total, seeds = examples.num_examples, [member.order for member in members]
        assert total is not None, "no stream"
        self._examples, self._total, self._seeds = examples, total, [*dict.fromkeys(seeds)]
        self._place = [self._seeds.index(seed) for seed in seeds]
        self._position, self._last = members[0].progress.examples, members[0].steps.examples
        self._epoch, self._order, self._from = -1, torch.empty(0, 0, dtype=torch.int64), 0

    def read(self, count: int) -> StackedBatch:
        """The next `count` examples of each; raises `Unequal` where these cannot be laid on each other."""
        positions = self._take(count)
        if len(positions) == 1:  # one seed: the same batch for all
            batch = self._examples.fetch(positions[0])
            tensors = tensors_in(batch)
            return StackedBatch(tensors=tensors, in_dims=[None] * len(tensors), like=batch)
        if self._examples.collate is default_collate:
            return self._at_once(positions)
        return self._one_by_one([self._examples.fetch(of_one) for of_one in positions])

    def _take(self, count: int) -> torch.Tensor:
        """The next `count` examples in the order of each seed, (seeds, count); across epochs as one training's are."""
        chosen = []
        while count > 0:
            epoch, offset = divmod(self._position, self._total)
            if epoch != self._epoch or offset + count > self._from + self._order.shape[1]:
                self._begin(epoch, offset, max(count, self._last - self._position))
            first = offset - self._from
            chosen.append(self._order[:, first : first + count])
            self._position += chosen[-1].shape[1]
            count -= chosen[-1].shape[1]
        return chosen[0] if len(chosen) == 1 else torch.cat(chosen, dim=1)

    def _begin(self, epoch: int, offset: int, needed: int) -> None:
        """Have what is needed of an epoch's orders, and no more: there is one for each seed."""
        parts = [epoch_order(self._total, seed, epoch)[offset : offset + needed].clone() for seed in self._seeds]
        self._epoch, self._from, self._order = epoch, offset, torch.stack(parts)

    def _at_once(self, positions: torch.Tensor) -> StackedBatch:
        seeds, count = positions.shape
        whole = self._examples.fetch(positions.reshape(-1))
        tensors = _tensors_alone(whole)
        if any(tensor.ndim == 0 or len(tensor) != count * seeds for tensor in tensors):
            raise Unequal("a batch holds what is no row of an example")
        of_each = [tensor.view(seeds, count, *tensor.shape[1:]) for tensor in tensors]
        return self._spread(of_each, whole)

    def _one_by_one(self, batches: Sequence[Any]) -> StackedBatch:
        rows = [_tensors_alone(batch) for batch in batches]
        try:
            return self._spread([torch.stack(row) for row in zip(*rows, strict=True)], batches[0])
        except (RuntimeError, ValueError) as error:
            raise Unequal("batches differ in shape from one training to another") from error

    def _spread(self, tensors: list[torch.Tensor], like: Any) -> StackedBatch:
        """Of each order to each member: of several with one seed the same."""
        if self._place != [*range(len(self._seeds))]:
            tensors = [tensor[self._place] for tensor in tensors]
        return StackedBatch(tensors=tensors, in_dims=[0] * len(tensors), like=like)


def _tensors_alone(batch: Any) -> list[torch.Tensor]:
    """The tensors of a batch; raises `Unequal` for anything else in it that may not be the same in all."""
    if type(batch) is tuple and all(isinstance(part, torch.Tensor) for part in batch):
        return list(batch)
    found: list[torch.Tensor] = []

    def look(leaf: Any) -> Any:
        if isinstance(leaf, torch.Tensor):
            found.append(leaf)
        elif leaf is not None:
            raise Unequal(f"a batch holds more than tensors ({type(leaf).__name__})")
        return leaf

    map_leaves(look, batch)
    return found
