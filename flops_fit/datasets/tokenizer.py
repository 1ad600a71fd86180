"""Text → token ids: bytes, a file of Hugging Face's `tokenizers`, one of `tiktoken`'s by name, or none for ids."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from flops_fit.basics.arguments import did_you_mean
from flops_fit.datasets.content import content_of
from flops_fit.datasets.files import files_of
from flops_fit.datasets.tokenizer_json import bytes_of_tokenizer_json
from flops_fit.errors import DataError

Ids = np.ndarray[Any, Any]
BYTES, IDS = "bytes", "ids"
_ENDS = ("<|endoftext|>", "<|end_of_text|>", "</s>", "<eos>", "[SEP]")  # of published tokenizers
_NUL = 0  # no text has it, so that 256 ids are enough


@dataclass(frozen=True, kw_only=True)
class Tokenizer:
    """How text becomes ids.

    Attributes:
        name: what stands for it in the name of a file of tokens: another for another tokenizer.
        vocab_size: how many ids there are.
        separator: the id between two documents; None where the tokenizer names none.
        encode: texts → the ids of each; nothing is added at their ends.
        id_of: the id of a token given as text; None where it has no such token.
        separates: whether a separator is put between documents, which ids that were made elsewhere have already.
        bytes_of: makes the bytes of text of each id, int64 (vocabulary,); None where they are not known.
    """

    name: str
    vocab_size: int
    separator: int | None
    encode: Callable[[Sequence[str]], list[Ids]]
    id_of: Callable[[str], int | None]
    separates: bool = True
    bytes_of: Callable[[], Ids | None] | None = None

    @property
    def column(self) -> str:
        """The field of a row that it reads, unless another is named."""
        return "text" if self.separates else "input_ids"


def tokenizer_of(name: str) -> Tokenizer:
    """The tokenizer called `name`: "bytes", the path of a `tokenizer.json`, or one of tiktoken's, such as "gpt2".

    "ids" is for documents that are ids already: they are taken as they are, one after the other.

    Raises `DataError` where there is none, or where its package is not installed.
    """
    if not isinstance(name, str) or not name:
        raise DataError(f'tokenizer = {name!r} must be "bytes", the path of a tokenizer.json, or a name such as "gpt2"')
    if name in (BYTES, IDS):
        return _bytes() if name == BYTES else _ids()
    return _of_file(name) if name.endswith(".json") else _tiktoken(name)


def _bytes() -> Tokenizer:
    def encode(texts: Sequence[str]) -> list[Ids]:
        return [np.frombuffer(text.encode(), np.uint8) for text in texts]

    def id_of(token: str) -> int | None:
        return token.encode()[0] if len(token.encode()) == 1 else None

    return Tokenizer(
        name="bytes/1",
        vocab_size=256,
        separator=_NUL,
        encode=encode,
        id_of=id_of,
        bytes_of=lambda: np.ones(256, np.int64),
    )


def _ids() -> Tokenizer:
    def encode(texts: Sequence[str]) -> list[Ids]:
        if texts:
            raise DataError(f'a document is text ({texts[0][:40]!r}), and tokenizer = "ids" takes ids; give another')
        return []

    return Tokenizer(
        name="ids/1", vocab_size=1 << 32, separator=None, encode=encode, id_of=lambda token: None, separates=False
    )


def _of_file(name: str) -> Tokenizer:
    (path,) = files_of(name)
    try:
        from tokenizers import Tokenizer as Made
    except ImportError as error:
        raise _not_installed("tokenizers", name) from error
    # its own threads, then forks of this process: it warns at each fork unless it was told what to do
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
    try:
        made = Made.from_file(str(path))
    except Exception as error:  # the package raises nothing more special
        raise DataError(f"{path} is no tokenizer of Hugging Face's ({error}); write it with tokenizer.save") from error

    def encode(texts: Sequence[str]) -> list[Ids]:
        return [np.array(item.ids, np.int64) for item in made.encode_batch(list(texts), add_special_tokens=False)]

    return Tokenizer(
        name=f"tokenizers {_version('tokenizers')} {content_of(path).digest}",
        vocab_size=made.get_vocab_size(),
        separator=next((found for end in _ENDS if (found := made.token_to_id(end)) is not None), None),
        encode=encode,
        id_of=made.token_to_id,
        bytes_of=lambda: bytes_of_tokenizer_json(made.to_str()),
    )


def _tiktoken(name: str) -> Tokenizer:
    try:
        import tiktoken
    except ImportError as error:
        if Path(name).suffix or os.sep in name:
            raise DataError(
                f'tokenizer = {name!r} must be "bytes", a file that ends in .json, or a name such as "gpt2"'
            ) from error
        raise _not_installed("tiktoken", name) from error
    known = tiktoken.list_encoding_names()
    if name not in known:
        hint = did_you_mean(
            name, [BYTES, IDS, *known], f'known are "bytes", a file that ends in .json, {", ".join(known)}'
        )
        raise DataError(f"tokenizer = {name!r} is none of tiktoken's; {hint}")
    try:
        made = tiktoken.get_encoding(name)
    except Exception as error:  # it fetches its table on first use
        raise DataError(
            f"tiktoken could not load {name!r} ({type(error).__name__}: {error}); it fetches it once: do so where "
            "there is a network, and take the folder that TIKTOKEN_CACHE_DIR names along"
        ) from error

    def id_of(token: str) -> int | None:
        try:
            return made.encode_single_token(token)
        except KeyError:
            return None

    def bytes_of() -> Ids:
        special = made.special_tokens_set
        named = {made.encode_single_token(token) for token in special}
        return np.array([0 if number in named else _size_in(made, number) for number in range(made.n_vocab)], np.int64)

    return Tokenizer(
        name=f"tiktoken {_version('tiktoken')} {name}",
        vocab_size=made.n_vocab,
        separator=id_of("<|endoftext|>"),
        encode=lambda texts: [np.array(ids, np.int64) for ids in made.encode_ordinary_batch(list(texts))],
        id_of=id_of,
        bytes_of=bytes_of,
    )


def _size_in(made: Any, number: int) -> int:
    try:
        return len(made.decode_single_token_bytes(number))
    except KeyError:  # an id that its vocabulary leaves out
        return 0


def _version(package: str) -> str:
    from flops_fit.identity.fingerprints import package_version

    return package_version(package)


def _not_installed(package: str, name: str) -> DataError:
    return DataError(f'tokenizer = {name!r} needs the package {package}: pip install {package}; or use "bytes"')


def separator_of(tokenizer: Tokenizer, given: int | str | None) -> int | None:
    """The id between documents: as given, by its text, or the tokenizer's own. Raises `DataError` for one it lacks."""
    if given is None:
        return tokenizer.separator
    found = tokenizer.id_of(given) if isinstance(given, str) else given
    if isinstance(found, bool) or not isinstance(found, int) or not 0 <= found < tokenizer.vocab_size:
        raise DataError(
            f"separator = {given!r} is no token of this tokenizer, which has 0 to {tokenizer.vocab_size - 1:,}; "
            "give one of its ids, or a token as text"
        )
    return found
