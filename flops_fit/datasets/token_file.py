"""Examples of a fixed context from files of tokens, which stay where they are: nothing is copied before it is read."""

from __future__ import annotations

import hashlib
import warnings
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset

from flops_fit.data.targets import IGNORED
from flops_fit.datasets.content import Content, content_of, stamp_of
from flops_fit.datasets.files import Paths, files_of
from flops_fit.datasets.shard import Shard, open_shard
from flops_fit.datasets.token_bytes import TokenBytes, token_bytes_of
from flops_fit.errors import DataError, FlopsFitWarning

FORMS = ("pairs", "labels")
INDEX = "index"  # as a separator: documents end where Megatron's index says so
_MOST_OPEN = 256  # files at once


class TokenFile(Dataset[Any]):
    """Token files as a map-style dataset: example i is `context` tokens and the tokens one later.

    Examples do not overlap and none reaches from one file into the next: of a file of n tokens there are
    (n - 1) // context, the inputs of the i-th are its tokens i * context to (i + 1) * context - 1.

    Args:
        path: a file (`.bin`, with Megatron-LM's `.idx` beside it if there is one, or `.npy`), a glob, or a list.
        context: tokens of an example.
        dtype: of a `.bin` that is nothing but numbers: "uint8", "uint16", "uint32", "int32" or "int64"; "auto" is
            uint16 unless the numbers say uint32.
        separator: the id of the end of a document: what follows it belongs to the next one and is no target (-100);
            or "index": documents begin where Megatron-LM's `.idx` says so, whatever ends them.
        form: "pairs" gives (inputs, targets), int64 of shape (context,) each; "labels" gives a mapping of `input_ids`
            and equal `labels`, for models that shift their labels themselves, as Hugging Face's causal ones do.
        vocab_size: if given, an id of it or above is refused, which reads every file once.
        bytes_per_token: of the text behind the ids, for `flops_fit.metrics.bits_per_byte`: the tokenizer that they were
            made with, as of `tokenize`, or how many bytes a token has on average. It changes no example and no id.

    Raises `DataError` for files that are not there, torn, of another type, or too short for one example.
    """

    code_version = "TokenFile/1"  # stands in ids for the source of this class: another where examples become others

    def __init__(
        self,
        path: Paths,
        *,
        context: int,
        dtype: str = "auto",
        separator: int | str | None = None,
        form: str = "pairs",
        vocab_size: int | None = None,
        bytes_per_token: float | str | None = None,
    ) -> None:
        _check(context, separator, form)
        self.shards = tuple(open_shard(file, dtype) for file in files_of(path))
        self._bytes_per_token, self._no_text = bytes_per_token, separator if isinstance(separator, int) else None
        if bytes_per_token is not None:
            _ = self.token_bytes  # what cannot be meant is refused now
        if separator == INDEX:
            _refuse_without_index(self.shards)
        self.context, self.separator, self.form, self.vocab_size = int(context), separator, form, vocab_size
        counts = [max(0, (shard.count - 1) // self.context) for shard in self.shards]
        _refuse_short(self.shards, counts, self.context)
        self._ends = np.cumsum(counts)
        self._stamps = [stamp_of(shard.path) for shard in self.shards]
        self._open: dict[int, np.ndarray[Any, Any]] = {}
        if vocab_size is not None:
            self._refuse_unknown(vocab_size)

    def __len__(self) -> int:
        """How many examples there are."""
        return int(self._ends[-1])

    def __getitem__(self, index: int) -> Any:
        """Example `index`; raises `IndexError` where there is none."""
        where = int(index) + (len(self) if index < 0 else 0)
        if not 0 <= where < len(self):
            raise IndexError(f"example {index} of {len(self):,}")
        batch = self.examples_at(torch.tensor([where]))
        if isinstance(batch, dict):
            return {name: tensor[0] for name, tensor in batch.items()}
        return tuple(tensor[0] for tensor in batch)

    def examples_at(self, positions: torch.Tensor) -> Any:
        """The examples at `positions` (int64) as one batch, read without Python per example."""
        where = positions.numpy()
        tokens = np.empty((len(where), self.context + 1), np.int64)  # (B, context + 1)
        begins = np.zeros((len(where), self.context), bool)  # of targets, whether a document begins there
        shards = np.searchsorted(self._ends, where, side="right")
        for shard in np.unique(shards):
            chosen = shards == shard
            first = (where[chosen] - (self._ends[shard - 1] if shard else 0)) * self.context
            places = first[:, None] + np.arange(self.context + 1)
            tokens[chosen] = self._tokens(int(shard))[places]
            if self.separator == INDEX:
                begins[chosen] = _stand_in(self.shards[shard].documents, places[:, 1:])
        return self._shaped(tokens, begins if self.separator == INDEX else tokens[:, :-1] == self.separator)

    @property
    def token_bytes(self) -> TokenBytes | None:
        """The bytes of text of each id, (vocabulary,), or their mean; None where they are not known."""
        return token_bytes_of(self._bytes_per_token, self._no_text)

    def with_text_of(self, tokenizer: str, separator: int | None) -> TokenFile:
        """These examples, made by this tokenizer with this separator between documents, unless they say otherwise."""
        if self._bytes_per_token is None:
            self._bytes_per_token, self._no_text = tokenizer, separator
        return self

    def _shaped(self, tokens: np.ndarray[Any, Any], begins: np.ndarray[Any, Any]) -> Any:
        inputs = torch.from_numpy(tokens[:, :-1].copy())
        targets = tokens[:, 1:].copy()  # not a view: it is written to
        if self.separator is not None:
            targets[begins] = IGNORED
        if self.form == "pairs":
            return inputs, torch.from_numpy(targets)
        labels = inputs.clone()
        labels[:, 1:] = torch.from_numpy(targets)[:, :-1]
        return {"input_ids": inputs, "labels": labels}

    def _tokens(self, number: int) -> np.ndarray[Any, Any]:
        """All tokens of a shard as a view of the file, which is opened when first asked for, in every process anew."""
        if number not in self._open:
            shard = self.shards[number]
            if stamp_of(shard.path)[:2] != self._stamps[number][:2]:
                raise DataError(f"{shard.path} was written since it was opened; start again with the file as it is")
            if len(self._open) >= _MOST_OPEN:
                self._open.clear()
            mapped = np.memmap(shard.path, shard.dtype, mode="r", offset=shard.offset, shape=(shard.count,))
            self._open[number] = mapped.view(np.ndarray)
        return self._open[number]

    def __getstate__(self) -> dict[str, Any]:
        """Without the open files: another process opens its own."""
        return {**self.__dict__, "_open": {}}

    @property
    def fingerprint(self) -> str:
        """What the examples are made of: context, separator, form, and the type, number and SHA-256 of all tokens."""
        files = [f"{shard.dtype.name} {shard.count} {_content(shard).digest}" for shard in self.shards]
        if self.separator == INDEX:
            files = [f"{file} {_hash_of(shard.documents)}" for file, shard in zip(files, self.shards, strict=True)]
        return "; ".join([f"tokens context={self.context} separator={self.separator} form={self.form}", *files])

    @property
    def greatest_token(self) -> int:
        """The greatest id in the files, all of which are read for it unless they have been."""
        return max(_content(shard).most for shard in self.shards)

    def _refuse_unknown(self, vocab_size: int) -> None:
        for shard in self.shards:
            found = _content(shard)
            if found.most >= vocab_size or found.least < 0:
                wrong = found.least if found.least < 0 else found.most
                raise DataError(
                    f"{shard.path} holds the token {wrong:,}, and vocab_size = {vocab_size:,} has 0 to "
                    f"{vocab_size - 1:,}; raise it, or give the file of this tokenizer (it was read as "
                    f"{shard.dtype.name})"
                )


def _content(shard: Shard) -> Content:
    return content_of(shard.path, shard.dtype, shard.offset, shard.end)


def _stand_in(rising: np.ndarray[Any, Any] | None, places: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Which of `places` are among those `rising` ones."""
    assert rising is not None
    found = np.searchsorted(rising, places).clip(max=len(rising) - 1)
    return rising[found] == places


def _hash_of(places: np.ndarray[Any, Any] | None) -> str:
    return hashlib.sha256(b"" if places is None else places.astype("<i8").tobytes()).hexdigest()


def _refuse_without_index(shards: tuple[Shard, ...]) -> None:
    for shard in shards:
        if shard.documents is None or not len(shard.documents):
            raise DataError(
                f'separator = "index" and no {shard.path.with_suffix(".idx")} that says where documents begin; copy it '
                "beside the tokens, or give the id that ends a document"
            )


def _check(context: Any, separator: Any, form: Any) -> None:
    if isinstance(context, bool) or not isinstance(context, int | np.integer) or context < 1:
        raise DataError(f"context = {context!r} must be a whole number of tokens, such as 256")
    is_id = isinstance(separator, int) and not isinstance(separator, bool) and separator >= 0
    if not (is_id or separator is None or separator == INDEX):
        raise DataError(f'separator = {separator!r} must be the id of a token, such as 50256, "index", or left out')
    if form not in FORMS:
        raise DataError(f"form = {form!r} must be one of {', '.join(FORMS)}")


def _refuse_short(shards: tuple[Shard, ...], counts: list[int], context: int) -> None:
    """Raise `DataError` where there is no example at all; warn of files that give none."""
    short = [shard for shard, count in zip(shards, counts, strict=True) if count == 0]
    if len(short) == len(shards):
        longest = max(shards, key=lambda shard: shard.count)
        raise DataError(
            f"context = {context:,} needs {context + 1:,} tokens, and {longest.path} has {longest.count:,}"
            f"{'' if len(shards) == 1 else ', the most of all files'}; set context to at most "
            f"{max(1, longest.count - 1):,}, or give more data"
        )
    if short:
        names = ", ".join(shard.path.name for shard in short[:4])
        warnings.warn(
            f"{len(short)} of {len(shards)} files are shorter than context + 1 = {context + 1:,} tokens and give no "
            f"example: {names}{', ...' if len(short) > 4 else ''}; join them to others, or lower context",
            FlopsFitWarning,
            stacklevel=3,
        )
