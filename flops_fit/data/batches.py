"""Batches as a pure function of seed and position: examples in a fixed order, read from any point on."""

from __future__ import annotations

import functools
import hashlib
import itertools
import numbers
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch.utils.data import IterableDataset, Subset, TensorDataset, default_collate

from flops_fit.errors import DataError, OutOfData


class Reader(Protocol):
    """Reads examples one batch after the other."""

    def read(self, count: int) -> Any:
        """The next `count` examples as one batch."""


@dataclass(frozen=True, kw_only=True)
class Examples:
    """A dataset ready to be read: map-style (with `num_examples`) or a stream (`num_examples` is None)."""

    dataset: Any
    collate: Callable[[list[Any]], Any]
    indices: torch.Tensor | None = None  # of a subset, int64 (num_examples,)

    @property
    def num_examples(self) -> int | None:
        """How many examples there are; None for a stream."""
        if isinstance(self.dataset, IterableDataset):
            return None
        return len(self.dataset) if self.indices is None else len(self.indices)

    def fetch(self, positions: torch.Tensor) -> Any:
        """The batch of the examples at `positions` (int64), without Python per example where the dataset allows it."""
        where = positions if self.indices is None else self.indices[positions]
        if type(self.dataset) is TensorDataset and self.collate is default_collate:
            return tuple(tensor.index_select(0, where) for tensor in self.dataset.tensors)
        if self.collate is default_collate and hasattr(self.dataset, "examples_at"):  # of `flops_fit.datasets`
            return self.dataset.examples_at(where)
        return self.batch_of(self._items(where.tolist()))

    def batch_of(self, items: list[Any]) -> Any:
        """Examples as one batch; raises `DataError` where they differ in shape and nothing pads them."""
        try:
            return self.collate(items)
        except (RuntimeError, TypeError) as error:
            if self.collate is not default_collate:
                raise
            if (shapes := _different_shapes(items)) is None:
                if isinstance(error, TypeError) and "batch must contain" in str(error):
                    found = str(error).rpartition("found ")[2]
                    raise DataError(
                        f"examples hold {found}, of which torch makes no batch; make tensors of it in the dataset "
                        "(numpy.array of an image, a number for a class), or give a DataLoader with a collate_fn"
                    ) from error
                raise
            token = "" if _has_fractions(items) else "a padding token (pad = 0, in [data]), "
            raise DataError(
                f"examples differ in shape, such as {shapes}, and nothing makes one batch of them; give {token}a "
                "DataLoader with a collate_fn that pads (targets with -100, which the loss leaves out), or examples of "
                "one length"
            ) from error

    def spread(self, count: int) -> list[Any]:
        """At most `count` examples, not collated, evenly spaced; of a stream the first."""
        if self.num_examples is None:
            return list(itertools.islice(iter(self.dataset), count))
        exact = torch.float32 if self.num_examples < 1 << 24 else torch.float64
        where = torch.linspace(0, self.num_examples - 1, min(count, self.num_examples), dtype=exact).long()
        return self._items((where if self.indices is None else self.indices[where]).tolist())

    def _items(self, where: list[int]) -> list[Any]:
        if hasattr(self.dataset, "__getitems__"):
            return list(self.dataset.__getitems__(where))
        return [self.dataset[index] for index in where]

    def reader(self, seed: int, start: int = 0) -> Reader:
        """A reader of the training order of `seed`, from the example at position `start` on."""
        if self.num_examples is None:
            return _StreamReader(self, start)
        return _MapReader(self, self.num_examples, seed, start)

    def in_order(self, batch_examples: int) -> Iterator[Any]:
        """Every example once, in the dataset's own order, in batches."""
        if self.num_examples is None:
            stream = iter(self.dataset)
            while examples := list(itertools.islice(stream, batch_examples)):
                yield self.batch_of(examples)
            return
        for first in range(0, self.num_examples, batch_examples):
            yield self.fetch(torch.arange(first, min(first + batch_examples, self.num_examples)))

    def only_first(self, count: int) -> Examples:
        """The first `count` examples, which are read for it."""
        if self.num_examples is None:
            return Examples(dataset=_Few(self.dataset, count), collate=self.collate)
        self.first(count)
        every = torch.arange(self.num_examples) if self.indices is None else self.indices
        return Examples(dataset=self.dataset, collate=self.collate, indices=every[:count])

    def as_dataset(self) -> Any:
        """What is read here, as a dataset of its own."""
        return self.dataset if self.indices is None else Subset(self.dataset, self.indices.tolist())

    def first(self, count: int) -> Any:
        """The first `count` examples as a batch."""
        return next(self.in_order(count))


def _different_shapes(items: list[Any]) -> str | None:
    """Two shapes that what is at the same place of several examples has; None where all agree."""
    found = _first_that_differ(items)
    return None if found is None else f"{_shape(found[0])} and {_shape(found[1])}"


def _has_fractions(items: list[Any]) -> bool:
    """Whether what differs in shape holds numbers that no token fills up."""
    row = (_first_that_differ(items) or ([],))[0]
    if isinstance(row, torch.Tensor):
        return row.is_floating_point()
    return row.dtype.kind == "f" if isinstance(row, np.ndarray) else any(isinstance(each, float) for each in row)


def _first_that_differ(items: list[Any]) -> tuple[Any, Any] | None:
    first = list(_rows_in(items[0]))
    for item in items[1:]:
        for one, other in zip(first, _rows_in(item), strict=False):
            if _shape(one) != _shape(other):
                return one, other
    return None


def _shape(row: Any) -> tuple[int, ...]:
    return tuple(row.shape) if isinstance(row, torch.Tensor | np.ndarray) else (len(row),)


def _rows_in(item: Any) -> Iterator[Any]:
    """Tensors, arrays and rows of numbers in it, in order."""
    if isinstance(item, torch.Tensor | np.ndarray) or (
        isinstance(item, list | tuple) and all(isinstance(part, numbers.Number) for part in item)
    ):
        yield item
    elif isinstance(item, Mapping | list | tuple):
        for part in item.values() if isinstance(item, Mapping) else item:
            yield from _rows_in(part)


class _Few(list[Any]):
    """The first examples of a stream, with the bytes of its tokens, if it says them."""

    def __init__(self, stream: Any, count: int) -> None:
        super().__init__(itertools.islice(iter(stream), count))
        self.token_bytes = getattr(stream, "token_bytes", None)


class _MapReader:
    """A permutation of all examples per epoch, fixed by `(seed, epoch)`: nothing repeats within an epoch."""

    def __init__(self, examples: Examples, total: int, seed: int, start: int) -> None:
        self._examples, self._total, self._seed, self._position = examples, total, seed, start
        self._epoch, self._order = -1, torch.empty(0, dtype=torch.int64)

    def read(self, count: int) -> Any:
        """The next `count` examples; across the end of an epoch the next epoch's order goes on."""
        chosen = []
        while count > 0:
            epoch, offset = divmod(self._position, self._total)
            if epoch != self._epoch:
                self._epoch, self._order = epoch, epoch_order(self._total, self._seed, epoch)
            chosen.append(self._order[offset : offset + count])
            self._position += len(chosen[-1])
            count -= len(chosen[-1])
        return self._examples.fetch(chosen[0] if len(chosen) == 1 else torch.cat(chosen))


class _StreamReader:
    """A stream in its own order; raises `OutOfData` where it ends too early."""

    def __init__(self, examples: Examples, start: int) -> None:
        self._examples, self._position = examples, start
        self._stream = itertools.islice(iter(examples.dataset), start, None)

    def read(self, count: int) -> Any:
        """The next `count` examples of the stream."""
        examples = list(itertools.islice(self._stream, count))
        self._position += len(examples)
        if len(examples) < count:
            raise OutOfData(f"the data stream ended after {self._position:,} examples; give more data or less compute")
        return self._examples.batch_of(examples)


@functools.lru_cache(maxsize=2)  # the experiments of a seed share their order, and ten million take half a second
def epoch_order(num_examples: int, seed: int, epoch: int) -> torch.Tensor:
    """The order of one epoch: a permutation of `num_examples` (int64) fixed by `(seed, epoch)`; never written to."""
    digest = hashlib.sha256(repr((seed, epoch)).encode()).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(digest[:8], "little") >> 1)
    return torch.randperm(num_examples, generator=generator)
