"""How many bytes of text each token is, which makes a loss per token one per byte."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from flops_fit.basics.arguments import is_number
from flops_fit.datasets.tokenizer import tokenizer_of
from flops_fit.errors import DataError

TokenBytes = np.ndarray[Any, Any] | float


def token_bytes_of(given: float | str | None, separator: int | None = None) -> TokenBytes | None:
    """The bytes of each id, int64 (vocabulary,), of a tokenizer by name as of `tokenizer_of`; a number as it is.

    Tokens that are no text, such as `<|endoftext|>` and the `separator`, have 0. Raises `DataError` for a tokenizer
    that does not say which bytes its tokens stand for, and for what is neither a name nor a number above 0.
    """
    if given is None:
        return None
    if isinstance(given, str):
        return _table(given, separator)
    if not is_number(given) or given <= 0:
        raise DataError(
            f'bytes_per_token = {given!r} must be a number above 0, such as 4.2, or a tokenizer\'s name, such as "gpt2"'
        )
    return float(given)


@functools.lru_cache(maxsize=8)
def _table(name: str, separator: int | None) -> np.ndarray[Any, Any]:
    made = tokenizer_of(name).bytes_of
    found = made() if made else None
    if found is None:
        raise DataError(
            f"tokenizer = {name!r} does not say how many bytes its tokens are; state how many they have on average, "
            "bytes of the text over number of tokens: kwargs = { bytes_per_token = 4.2 } in [data]"
        )
    table = found.copy()
    if separator is not None and separator < len(table):
        table[separator] = 0
    table.setflags(write=False)
    return table
