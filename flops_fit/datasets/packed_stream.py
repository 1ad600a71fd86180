"""A stream of documents, packed to a context without padding, for what is too large or too far away for a file."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch.utils.data import IterableDataset

from flops_fit.data.targets import IGNORED
from flops_fit.datasets.documents import Document, field_of
from flops_fit.datasets.token_bytes import TokenBytes, token_bytes_of
from flops_fit.datasets.tokenized import joined
from flops_fit.datasets.tokenizer import separator_of, tokenizer_of
from flops_fit.errors import DataError


class PackedStream(IterableDataset[Any]):
    """Examples of `context` tokens from documents that come one after the other, in their own order.

    Args:
        documents: what can be gone through again and again from the beginning, such as a streaming dataset of Hugging
            Face's, or a function that returns an iterator. A document is text, a list of ids, or a mapping with either.
        context: tokens of an example; what is left at the end of the stream and fills none is left out.
        tokenizer: as of `tokenize`.
        separator, column, across_documents: as of `tokenize`.

    Examples are pairs (inputs, targets) as of `TokenFile`. Resuming goes through the stream again up to where it was.
    """

    code_version = "PackedStream/1"  # stands in ids for the source of this class

    def __init__(
        self,
        documents: Iterable[Any] | Callable[[], Iterable[Any]],
        *,
        context: int,
        tokenizer: str,
        separator: int | str | None = None,
        column: str | None = None,
        across_documents: bool = False,
    ) -> None:
        if isinstance(documents, Iterator):
            raise DataError(
                "documents is an iterator, which can be gone through once; give a function that returns one"
            )
        made = tokenizer_of(tokenizer)
        self._documents, self._context, self._column = documents, context, column or made.column
        self._tokenizer = tokenizer
        self._separator = separator_of(made, separator)
        self._masked = None if across_documents else self._separator

    @property
    def token_bytes(self) -> TokenBytes | None:
        """The bytes of text of each id, for `flops_fit.metrics.bits_per_byte`."""
        made = tokenizer_of(self._tokenizer)
        return token_bytes_of(self._tokenizer, self._separator) if made.separates else None

    def __iter__(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Pairs of (context,) int64 each."""
        held = np.empty(0, np.int64)
        for ids in joined(self._pieces(), tokenizer_of(self._tokenizer), self._separator):
            held = np.concatenate([held, ids])
            first = 0
            while len(held) - first > self._context:
                yield self._example(held[first : first + self._context + 1])
                first += self._context
            held = held[first:]

    def _example(self, tokens: np.ndarray[Any, Any]) -> tuple[torch.Tensor, torch.Tensor]:
        inputs, targets = torch.from_numpy(tokens[:-1].copy()), torch.from_numpy(tokens[1:].copy())
        if self._masked is not None:
            targets[inputs == self._masked] = IGNORED
        return inputs, targets

    def _pieces(self) -> Iterator[tuple[Document, bool]]:
        source = self._documents() if callable(self._documents) else self._documents
        for number, item in enumerate(source):
            row = item if isinstance(item, Mapping) else {self._column: item}
            yield field_of(row, self._column, f"document {number:,}"), True
