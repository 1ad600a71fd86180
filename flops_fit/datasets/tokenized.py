"""Text → a token file, once: kept in the cache folder under a hash of what it was made of."""

from __future__ import annotations

import itertools
import os
import uuid
import warnings
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock

from flops_fit.datasets.content import content_of
from flops_fit.datasets.documents import Document, has_rows, parts_of, pieces_of
from flops_fit.datasets.files import CACHE_VARIABLE, Paths, cache_folder, files_of
from flops_fit.datasets.token_file import TokenFile
from flops_fit.datasets.tokenizer import Tokenizer, separator_of, tokenizer_of
from flops_fit.errors import DataError, FlopsFitWarning
from flops_fit.identity.fingerprints import content_hash
from flops_fit.processes.alive import still_alive

_MADE_BY = "tokenize/1"  # another where the same text becomes other tokens
_ROWS_ELSEWHERE = (".json", ".csv", ".tsv")  # whose rows other tools read
_TOGETHER, _LENGTH = 256, 1 << 23  # pieces that a tokenizer gets at once, and characters or ids of them


def tokenize(
    path: Paths,
    *,
    context: int,
    tokenizer: str,
    separator: int | str | None = None,
    column: str | None = None,
    across_documents: bool = False,
    form: str = "pairs",
    bytes_per_token: float | str | None = None,
) -> TokenFile:
    """The tokens of text files as a `TokenFile`, documents one after the other with a separator between.

    Args:
        path: text files (`.txt` or any other name: each is one document), `.jsonl` (each line is one), these with
            `.gz`, `.parquet`, a folder saved by Hugging Face's `datasets`; a glob or a list of them.
        context: tokens of an example.
        tokenizer: "bytes", the path of a `tokenizer.json`, a name of tiktoken's, or "ids" for what is ids already.
        separator: the token between documents, an id or its text; the tokenizer's own end of text if left out. Of
            "ids" the one that ends documents there, if any.
        column: of `.jsonl`, `.parquet` and saved datasets, which field is the text, or a list of ids; "text" if left
            out, "input_ids" with "ids".
        across_documents: the first token of a document is predicted from the one before; else it is no target.
        form: as of `TokenFile`.
        bytes_per_token: as of `TokenFile`; by default what the tokenizer says.

    Tokenized once, into the cache folder (`FLOPS_FIT_CACHE`, else `~/.cache/flops_fit`), under a hash of the files'
    content, the tokenizer and the options. Raises `DataError` for what cannot be read or tokenized.
    """
    files, made = files_of(path), tokenizer_of(tokenizer)
    _refuse_no_rows(files, column)
    _warn_of_rows_as_text(files)
    between, field = separator_of(made, separator), column or made.column
    dtype = "uint16" if made.vocab_size <= 1 << 16 else "uint32"
    content = [content_of(part).digest for file in files for part in parts_of(file)]
    kinds = [file.name.removesuffix(".gz").rpartition(".")[2] if file.is_file() else "folder" for file in files]
    key = content_hash([_MADE_BY, made.name, between, field, dtype, kinds, content])[:32]
    target = cache_folder() / "tokens" / f"{key}.{dtype}.bin"
    if not target.exists():
        _make(target, (pieces_of(file, field) for file in files), made, between, dtype)
    _refuse_empty(target, files)
    masked = None if across_documents else between
    size = made.vocab_size if made.separates else None
    made_file = TokenFile(
        target,
        context=context,
        dtype=dtype,
        separator=masked,
        form=form,
        vocab_size=size,
        bytes_per_token=bytes_per_token,
    )
    return made_file.with_text_of(tokenizer, between) if made.separates else made_file


def _make(
    target: Path,
    files: Iterable[Iterable[tuple[Document, bool]]],
    tokenizer: Tokenizer,
    between: int | None,
    dtype: str,
) -> None:
    """Write the tokens; whoever wants the same ones meanwhile waits, and sees all of them or none."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{target}.lock"):
            if target.exists():
                return
            temporary = target.with_name(f".{target.name}.{uuid.uuid4().hex[:8]}.tmp")
            try:
                with temporary.open("xb") as out:
                    for ids in joined(itertools.chain.from_iterable(files), tokenizer, between):
                        ids.astype(dtype).tofile(out)
                        still_alive()
                os.replace(temporary, target)
            except BaseException:
                temporary.unlink(missing_ok=True)
                raise
    except OSError as error:
        raise DataError(
            f"tokens cannot be kept in {target.parent} ({error}); set {CACHE_VARIABLE} to a folder with room"
        ) from error


def joined(
    pieces: Iterable[tuple[Document, bool]], tokenizer: Tokenizer, between: int | None
) -> Iterator[np.ndarray[Any, Any]]:
    """The ids of pieces of documents, with `between` before every document but the first, if the tokenizer does so."""
    begins, several = True, False
    for together in _groups(pieces):
        for ids, (_, ends) in zip(_encoded([piece for piece, _ in together], tokenizer), together, strict=True):
            if begins and several and tokenizer.separates:
                yield np.array([_needed(between)])
            yield ids
            begins, several = ends, True


def _groups(pieces: Iterable[tuple[Document, bool]]) -> Iterator[list[tuple[Document, bool]]]:
    """Pieces by the hundred, fewer where they are long: all of a group are in memory."""
    group: list[tuple[Document, bool]] = []
    length = 0
    for piece in pieces:
        group.append(piece)
        length += len(piece[0])
        if len(group) >= _TOGETHER or length >= _LENGTH:
            yield group
            group, length = [], 0
    if group:
        yield group


def _encoded(pieces: Sequence[Document], tokenizer: Tokenizer) -> list[np.ndarray[Any, Any]]:
    texts = iter(tokenizer.encode([piece for piece in pieces if isinstance(piece, str)]))
    return [next(texts) if isinstance(piece, str) else _known(piece, tokenizer) for piece in pieces]


def _known(ids: Sequence[int], tokenizer: Tokenizer) -> np.ndarray[Any, Any]:
    """Ids that were made elsewhere; raises `DataError` for one that the tokenizer does not have."""
    array = np.array(ids, np.int64)
    if len(array) and not 0 <= array.min() <= array.max() < tokenizer.vocab_size:
        wrong = array.min() if array.min() < 0 else array.max()
        raise DataError(
            f"a document holds the token {wrong:,}, and the tokenizer has 0 to {tokenizer.vocab_size - 1:,}; give the "
            "tokenizer that the ids were made with"
        )
    return array


def _needed(between: int | None) -> int:
    if between is None:
        raise DataError(
            "there are several documents and the tokenizer names no token for the end of one; set separator to the id "
            "or the text of a token that may stand between them"
        )
    return between


def _refuse_no_rows(files: Sequence[Path], column: str | None) -> None:
    if column is not None and not any(map(has_rows, files)):
        raise DataError(
            f"column = {column!r} is for files with rows (.jsonl, .parquet, a saved dataset), and {files[0].name} is "
            "one text; leave it out, or name a file of JSON lines .jsonl"
        )


def _warn_of_rows_as_text(files: Sequence[Path]) -> None:
    for file in files:
        if file.name.removesuffix(".gz").endswith(_ROWS_ELSEWHERE):
            warnings.warn(
                f"{file} is taken for one text as it stands, with its names, quotes and commas; to read rows, write "
                'one JSON object in each line, such as {"text": "..."}, into a file whose name ends in .jsonl',
                FlopsFitWarning,
                stacklevel=3,
            )
            return


def _refuse_empty(target: Path, files: Sequence[Path]) -> None:
    if target.stat().st_size == 0:
        raise DataError(f"there is no text in {', '.join(map(str, files[:4]))}; give files that have some")
