"""Held-out examples that also stand in the training data: looked for by hashes, in samples of both."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch.utils.data import TensorDataset, default_collate

from flops_fit.basics.random_state import isolated_random_state, seed_everything
from flops_fit.data.batches import Examples
from flops_fit.data.hashes import SHORTEST_WINDOW, example_hashes, tokens_of, window_hashes, window_of
from flops_fit.data.nested import tensors_in
from flops_fit.data.study_data import StudyData
from flops_fit.loss import inputs_of

_SEED = 20220329
_HELD_OUT, _TRAINING, _ELEMENTS = 16_384, 200_000, 20_000_000  # looked at, of data that is read without Python
_FEW_HELD_OUT, _FEW_TRAINING = 2_000, 5_000  # and of any other
_AT_ONCE = 4_000_000  # elements
_SHARE = 0.01  # of held-out examples that are trained on: above it is a finding
_SURE = 3.0  # standard errors
_BITS = 22  # of a hash that a first look compares


@dataclass(frozen=True, kw_only=True)
class Leak:
    """What of a held-out set was found in the training data.

    Attributes:
        name: of the set; "" of a single one.
        examples: of it that were looked for.
        found: of these that stand in the training examples that were looked at.
        training, of_training: how many were looked at, and how many there are.
        repeated: share of training examples that stand elsewhere among those looked at too.
        window: tokens that were compared, anywhere in an example; None where whole examples were.
        recurs: whether what is compared may recur without a leak: passages of text, and short examples.
        reason: why nothing could be looked at; "" otherwise.
    """

    name: str
    examples: int = 0
    found: int = 0
    training: int = 0
    of_training: int = 0
    repeated: float = 0.0
    window: int | None = None
    recurs: bool = False
    reason: str = ""

    @property
    def share(self) -> float:
        """Share of the held-out examples that stand in the training data, estimated where not all of it was read."""
        return min(1.0, self._found_share * self.of_training / self.training) if self.training else 0.0

    @property
    def _found_share(self) -> float:
        return self.found / self.examples if self.examples else 0.0

    @property
    def is_finding(self) -> bool:
        """Whether a hundredth or more is leaked; of what may recur, also more than does in the training data itself."""
        error = math.sqrt(max(self._found_share, self.repeated) / max(self.examples, 1))
        expected = self.repeated + _SURE * error if self.recurs else 0.0
        return self.share >= _SHARE and self._found_share > expected

    def text(self) -> str:
        """One line: what was found, among how many, and what it means."""
        of = f"held-out examples of {self.name}" if self.name else "held-out examples"
        if self.reason:
            return f"{of} were not looked for in the training data: {self.reason}"
        what = f"windows of {self.window} tokens" if self.window else "inputs"
        whole = self.training == self.of_training
        among = f"{self.training:,}" if whole else f"{self.training:,} of {self.of_training:,}"
        looked = f"{self.examples:,} compared by {what} with {among} training examples"
        if not self.found:
            most = 3 * self.of_training / max(self.training * self.examples, 1)  # at 95 %, the rule of three
            return (
                f"none of the {of} stands in the training data ({looked}: fewer than {_percent(min(most, 1))} at 95 %)"
            )
        also = f"of training examples {_percent(self.repeated)} stand there more than once"
        where = f"of the {of} stand in the training data ({looked}; {also})"
        if self.recurs and not self.is_finding:
            return f"{_percent(self._found_share)} {where}, so these recur no more than others do"
        said = f"{'' if whole else 'about '}{_percent(self.share)} {where}"
        if self.is_finding:
            return f"{said}: their loss is of what was trained on; take them out of the training data"
        return said


def _percent(share: float) -> str:
    return f"{100 * share:.2g} %" if share < 1 else "100 %"


def find_leaks(data: StudyData) -> tuple[Leak, ...]:
    """What of each held-out set stands in the training data: by windows of 16 to 64 tokens anywhere in an example where
    inputs are sequences of token ids, else by whole inputs, byte for byte.

    At most 16,384 held-out and 200,000 training examples are looked at, evenly spaced (20 million elements; 2,000 and
    5,000 where each is read by Python), so that of large data the share is an estimate. Streams are not looked at.
    """
    found = []
    for name, held_out in data.held_out_sets.items():
        try:
            with isolated_random_state():
                seed_everything(_SEED)
                found.append(_leak(name, data, held_out))
        except Exception as error:  # of the user's own data, which the steps that come next report
            found.append(Leak(name=name, reason=f"reading them raised {type(error).__name__}: {error}"))
    return tuple(found)


def _leak(name: str, data: StudyData, held_out: Examples) -> Leak:
    train, total = data.train, data.train.num_examples
    if total is None or held_out.num_examples is None:
        return Leak(name=name, reason="a stream cannot be read at random")
    first = train.first(1)
    tensors = [tensor for tensor in tensors_in(inputs_of(first)) if tensor.ndim]
    if not tensors:
        return Leak(name=name, reason="inputs are no tensors")
    size, tokens = sum(tensor.numel() for tensor in tensors), tokens_of(first)
    window = None if tokens is None else window_of(tokens.shape[1])
    limits = _limits(train, size), _limits(held_out, size)
    compared = _Compared(
        window, data.tokens.varies or not _is_plain(train), data.tokens.varies or not _is_plain(held_out), size
    )
    queries = compared.queries(held_out, _spread(held_out.num_examples, limits[1][1]), compared.held_out_apart)
    if queries is None or not len(queries):
        return Leak(
            name=name, reason="their inputs are of another kind than those of the training data, or all padding"
        )
    where = _spread(total, limits[0][0])
    own = compared.queries(train, where[:: max(1, len(where) // _FEW_HELD_OUT)], compared.training_apart)
    known = np.unique(np.concatenate([queries, own] if own is not None else [queries]))
    counts = compared.count(train, where, known)
    integers = not tensors[0].is_floating_point()
    return Leak(
        name=name,
        examples=len(queries),
        found=int((counts[np.searchsorted(known, queries)] > 0).sum()),
        training=len(where),
        of_training=total,
        repeated=float((counts[np.searchsorted(known, own)] > 1).mean()) if own is not None and len(own) else 0.0,
        window=window,
        recurs=window is not None or (integers and size < 2 * SHORTEST_WINDOW),
    )


@dataclass(frozen=True)
class _Compared:
    """How examples are compared: by windows or whole, in batches or one by one, since padding would differ."""

    window: int | None
    training_apart: bool
    held_out_apart: bool
    size: int

    def queries(self, examples: Examples, where: torch.Tensor, apart: bool) -> np.ndarray | None:
        """One hash for each example that has one: of its whole, or of a window in its middle."""
        found = []
        for hashes, tokens in self._hashes(examples, where, apart):
            if hashes is None:
                return None
            found.append(hashes if tokens is None else _one_window(hashes, tokens))
        return np.concatenate(found) if found else None

    def count(self, examples: Examples, where: torch.Tensor, known: np.ndarray) -> np.ndarray:
        """How many of the examples at `where` have each of the `known` hashes, which are sorted; (known,)."""
        counts, seen = np.zeros(len(known), np.int64), np.zeros(1 << _BITS, bool)
        seen[known >> np.uint64(64 - _BITS)] = True
        for hashes, _ in self._hashes(examples, where, self.training_apart):
            if hashes is None:
                continue
            rows = hashes.reshape(len(hashes), -1)
            at, column = np.nonzero(seen[rows >> np.uint64(64 - _BITS)])
            values = rows[at, column]
            place = np.minimum(np.searchsorted(known, values), len(known) - 1)
            hit = known[place] == values
            each = np.unique(np.stack([at[hit], place[hit]]), axis=1)[1]  # a window twice in an example counts once
            counts += np.bincount(each, minlength=len(known))
        return counts

    def _hashes(
        self, examples: Examples, where: torch.Tensor, apart: bool
    ) -> Iterator[tuple[np.ndarray | None, np.ndarray | None]]:
        """Hashes of a batch after the other, and the tokens where these are of windows; None for what has none."""
        step = 1 if apart else max(1, min(1024, _AT_ONCE // max(self.size, 1)))
        for part in where.split(step):
            batch = examples.fetch(part)
            if self.window is None:
                yield example_hashes(batch, len(part)), None
                continue
            tokens = tokens_of(batch)
            if tokens is None or tokens.shape[1] < self.window:
                if not apart:
                    yield None, None
                continue
            yield window_hashes(tokens, self.window), tokens


def _one_window(hashes: np.ndarray, tokens: np.ndarray) -> np.ndarray:
    """Of each example's windows, (examples, windows), the one in its middle, or a quarter in, or the first, of which at
    most half is padding: as its first token or its last; examples without such a window have none."""
    count = hashes.shape[1]
    window = tokens.shape[1] - count + 1
    chosen, there = np.zeros(len(hashes), np.uint64), np.zeros(len(hashes), bool)
    for first in (count // 2, count // 4, 0):
        part = tokens[:, first : first + window]
        padding = np.maximum((part == part[:, :1]).sum(axis=1), (part == part[:, -1:]).sum(axis=1))
        good = ~there & (padding <= window // 2)
        chosen[good], there[good] = hashes[good, first], True
    return chosen[there]


def _is_plain(examples: Examples) -> bool:
    return examples.collate is default_collate


def _limits(examples: Examples, size: int) -> tuple[int, int]:
    """How many training and held-out examples are looked at: fewer where Python reads each, or where they are large."""
    quick = _is_plain(examples) and (
        type(examples.dataset) is TensorDataset or hasattr(examples.dataset, "examples_at")
    )
    most, held_out = (_TRAINING, _HELD_OUT) if quick else (_FEW_TRAINING, _FEW_HELD_OUT)
    room = max(1, _ELEMENTS // max(size, 1))
    return min(most, room), min(held_out, room)


def _spread(total: int, count: int) -> torch.Tensor:
    """At most `count` positions of `total`, evenly spaced."""
    return torch.unique(torch.linspace(0, total - 1, min(count, total), dtype=torch.float64).long())
