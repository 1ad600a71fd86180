"""64-bit hashes of examples, and of windows of their tokens, whole batches at a time."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import torch

from flops_fit.data.nested import tensors_in
from flops_fit.loss import inputs_of

LONGEST_WINDOW, SHORTEST_WINDOW = 64, 16  # tokens that are compared, wherever in an example they stand
_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)  # odd, so that it has an inverse modulo 2^64
_INVERSE = np.uint64(pow(0x9E3779B97F4A7C15, -1, 1 << 64))
_SEED = 20220329


def tokens_of(batch: Any) -> np.ndarray | None:
    """The token ids of a batch, (examples, length) uint64; None where its inputs are no sequences of integers that are
    long enough for a window."""
    first = next(iter(tensors_in(inputs_of(batch))), None)
    whole = first is not None and not first.is_floating_point() and first.dtype != torch.bool and not first.is_complex()
    if first is None or not whole or first.ndim != 2 or first.shape[1] < 2 * SHORTEST_WINDOW:
        return None
    return first.cpu().numpy().astype(np.int64).view(np.uint64)


def window_of(length: int) -> int:
    """How many tokens of an example of `length` are compared: half of them, at most 64."""
    return min(LONGEST_WINDOW, length // 2)


def window_hashes(tokens: np.ndarray, window: int) -> np.ndarray:
    """Hashes of every `window` tokens in a row, (examples, length - window + 1) uint64: a polynomial modulo 2^64."""
    length = tokens.shape[1]
    powers = _powers(int(_MULTIPLIER), length)
    with np.errstate(over="ignore"):
        sums = np.zeros((len(tokens), length + 1), np.uint64)
        np.cumsum(mixed(tokens) * powers, axis=1, out=sums[:, 1:])
        return mixed((sums[:, window:] - sums[:, :-window]) * _powers(int(_INVERSE), length)[: length - window + 1])


def example_hashes(batch: Any, count: int) -> np.ndarray | None:
    """Hashes of the inputs of `count` examples in a batch, (examples,) uint64; None where these are no tensors."""
    tensors = [tensor for tensor in tensors_in(inputs_of(batch)) if tensor.ndim and len(tensor) == count]
    if not tensors:
        return None
    total = np.zeros(count, np.uint64)
    with np.errstate(over="ignore"):
        for place, tensor in enumerate(tensors):
            words = _words(tensor)
            total = mixed(total + (mixed(words) * _weights(place, words.shape[1])).sum(axis=1, dtype=np.uint64))
    return total


def mixed(values: np.ndarray) -> np.ndarray:
    """SplitMix64's finaliser: every bit of the result depends on every bit of a value."""
    with np.errstate(over="ignore"):
        values = values + _MULTIPLIER
        values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return values ^ (values >> np.uint64(31))


def _words(tensor: torch.Tensor) -> np.ndarray:
    """The bytes of each example, eight to a word, (examples, words)."""
    rows = tensor.detach().cpu().contiguous().reshape(len(tensor), -1).view(torch.uint8).numpy()
    padded = np.zeros((len(rows), -(-rows.shape[1] // 8) * 8), np.uint8)
    padded[:, : rows.shape[1]] = rows
    return padded.view(np.uint64)


@functools.lru_cache(maxsize=8)
def _weights(place: int, count: int) -> np.ndarray:
    return np.random.default_rng([_SEED, place]).integers(0, 1 << 63, size=count, dtype=np.uint64) * np.uint64(2) + (
        np.uint64(1)
    )


@functools.lru_cache(maxsize=8)
def _powers(base: int, count: int) -> np.ndarray:
    with np.errstate(over="ignore"):
        powers = np.full(count, np.uint64(base))
        powers[0] = 1
        return np.cumprod(powers, dtype=np.uint64)
