"""Data given as a path: which dataset it is by the name of its files."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

from flops_fit.basics.arguments import did_you_mean
from flops_fit.datasets.documents import has_rows
from flops_fit.datasets.files import Paths, files_of
from flops_fit.datasets.tar_samples import TAR
from flops_fit.datasets.tar_shards import TarShards
from flops_fit.datasets.token_file import TokenFile
from flops_fit.datasets.tokenized import tokenize
from flops_fit.errors import DataError

TOKENS = (".bin", ".npy")
_OWN = {
    "tokens": {"dtype", "vocab_size"},
    "rows": {"tokenizer", "across_documents", "column"},
    "text": {"tokenizer", "across_documents"},
}


def open_path(
    path: Paths, *, context: int | None = None, tokenizer: str | None = None, **options: Any
) -> TokenFile | TarShards:
    """The dataset in the files at `path`: `TokenFile` of `.bin` and `.npy`, `TarShards` of `.tar` without a tokenizer,
    `tokenize` of any other, with `options`.

    Raises `DataError` for text without a tokenizer, for tokens with one, and for options that they do not have.
    """
    files = files_of(path)
    tokens = [file for file in files if file.suffix in TOKENS]
    if tokens and len(tokens) < len(files):
        other = next(file for file in files if file not in tokens)
        raise DataError(f"{tokens[0]} holds tokens and {other} does not; give files of one kind")
    if tokens and tokenizer is not None:
        raise DataError(f"{tokens[0]} holds tokens already, so tokenizer = {tokenizer!r} is not needed; leave it out")
    if _kind(path, tokenizer) == "samples":
        return _samples(path, context, options)
    if not tokens and tokenizer is None:
        raise DataError(
            f'{files[0]} is text; set tokenizer to "bytes", the path of a tokenizer.json, or a name such as "gpt2" '
            f"(files of tokens end in {' or '.join(TOKENS)})"
        )
    if context is None:
        raise DataError(f"{files[0]} is cut into examples; set context to their tokens, such as context = 256")
    _refuse_unknown(TokenFile if tokens else tokenize, options)
    return (
        TokenFile(path, context=context, **options)
        if tokens
        else tokenize(path, context=context, tokenizer=tokenizer or "", **options)
    )


def _samples(path: Paths, context: int | None, options: Mapping[str, Any]) -> TarShards:
    files = files_of(path)
    other = next((file for file in files if file.suffix != TAR), None)
    if other is not None:
        raise DataError(f"{files[0]} holds samples and {other} does not; give files of one kind")
    if context is not None:
        raise DataError(
            f"{files[0]} has an example in each sample, so that context = {context} says nothing; leave it out, or, "
            "for text in it, give a tokenizer"
        )
    _refuse_unknown(TarShards, options)
    return TarShards(path, **options)


def own_options(path: Paths, others: Sequence[Paths], options: Mapping[str, Any]) -> dict[str, Any]:
    """Of `options` that are given once for `path` and `others`, those that the files at `path` take: not left out are
    those that no files take, which `open_path` refuses."""
    tokenizer = options.get("tokenizer")
    kind, kinds = _kind(path, tokenizer), {_kind(other, tokenizer) for other in others}
    elsewhere = set[str]().union(*(_OWN.get(other, set()) for other in kinds)) - _OWN.get(kind, set())
    return {name: value for name, value in options.items() if name not in elsewhere}


def _kind(path: Paths, tokenizer: str | None) -> str:
    files = files_of(path)
    if files[0].suffix == TAR and tokenizer is None:
        return "samples"
    return "tokens" if files[0].suffix in TOKENS else "rows" if any(map(has_rows, files)) else "text"


def _refuse_unknown(made: Any, options: Mapping[str, Any]) -> None:
    known = set(inspect.signature(made).parameters) - {"path", "context", "tokenizer"}
    for name in options:
        if name not in known:
            raise DataError(f"data.kwargs has {name!r}, which these files do not take; {did_you_mean(name, known)}")
