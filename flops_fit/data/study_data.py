"""Datasets: what may be given, how held-out data is split off, how tokens are counted, and what the data is."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch.utils.data import (
    DataLoader,
    IterableDataset,
    RandomSampler,
    Subset,
    SubsetRandomSampler,
    TensorDataset,
    WeightedRandomSampler,
    default_collate,
)

from flops_fit.basics.random_state import isolated_random_state, seed_everything
from flops_fit.data.batches import Examples, epoch_order
from flops_fit.data.nested import tensors_in
from flops_fit.data.padding import Padding
from flops_fit.data.targets import IGNORED, TokenCount, count_tokens
from flops_fit.errors import DataError, DataTypeError, FlopsFitWarning
from flops_fit.identity.fingerprints import Pieces, content_hash, fingerprint_callable
from flops_fit.identity.origin import LOCAL, origin

_SPLIT_SEED = 20220329  # the held-out split is the same for every seed of a study
_MAX_HELD_OUT = 16_384
_FINGERPRINT_EXAMPLES = 64
_SAMPLE_OF_DIFFERENT = 32


def validate_dataset(dataset: Any, name: str = "dataset") -> Any:
    """Return `dataset` if it can be trained on: a `Dataset`, `IterableDataset`, `DataLoader`, or a sequence of pairs.

    Raises `DataTypeError` (a TypeError and ValueError) for anything else, with a hint for a Hugging Face dataset that
    yields Python lists instead of tensors, and `DataError` for an empty dataset.
    """
    if dataset is None:
        raise DataTypeError(f"{name} is None; give a torch Dataset, IterableDataset or DataLoader")
    if isinstance(dataset, type):
        raise DataTypeError(
            f"{name} is the class {dataset.__name__}, not an instance of it; give {dataset.__name__}(...)"
        )
    if _is_hugging_face(dataset) and not _yields_tensors(dataset):
        raise DataTypeError(f'{name} is a Hugging Face dataset that yields Python lists; call .with_format("torch")')
    if isinstance(dataset, DataLoader):
        return validate_dataset(dataset.dataset, name) and dataset
    if isinstance(dataset, IterableDataset):
        return dataset
    if not (hasattr(dataset, "__getitem__") and hasattr(dataset, "__len__")) or isinstance(dataset, str | bytes | dict):
        raise DataTypeError(
            f"{name} is a {type(dataset).__name__}; give a torch Dataset with __len__ and __getitem__, "
            "an IterableDataset or a DataLoader"
        )
    if len(dataset) == 0:
        raise DataError(f"{name} has 0 examples; at least 1 is needed")
    return dataset


def _is_hugging_face(dataset: Any) -> bool:
    return type(dataset).__module__.split(".")[0] == "datasets" and hasattr(dataset, "with_format")


def _yields_tensors(dataset: Any) -> bool:
    """Whether a Hugging Face dataset does: one that streams says so by its first example alone."""
    form = getattr(dataset, "format", None)
    if form is not None:
        return bool(form.get("type") == "torch")
    return bool(tensors_in(next(iter(dataset), None)))


def open_examples(dataset: Any, name: str = "dataset", padding: Padding | None = None) -> Examples:
    """`dataset` as `Examples`; of a `DataLoader` its dataset and collate function, since batches are the recipe's.

    With `padding`, that is the collate function. Raises `DataError` where a `DataLoader` has one of its own.
    """
    validate_dataset(dataset, name)
    collate: Callable[[list[Any]], Any] = default_collate
    if isinstance(dataset, DataLoader):
        _refuse_sampler(dataset, name)
        collate, dataset = dataset.collate_fn, dataset.dataset
    if padding is not None and collate is not default_collate:
        raise DataError(
            f"pad = {padding.token} with a DataLoader whose collate_fn makes batches; leave one of them out"
        )
    collate = padding or collate
    indices: torch.Tensor | None = None
    while type(dataset) is Subset:
        own = torch.as_tensor(list(dataset.indices), dtype=torch.int64)
        indices, dataset = own if indices is None else own[indices], dataset.dataset
    return Examples(dataset=dataset, collate=collate, indices=indices)


def _refuse_sampler(loader: Any, name: str) -> None:
    """Raise `DataError` for a sampler that chooses or weighs examples, as all are read in an order of our own."""
    sampler = loader.sampler
    chooses = isinstance(sampler, WeightedRandomSampler | SubsetRandomSampler)
    if chooses or (isinstance(sampler, RandomSampler) and sampler.replacement):
        raise DataError(
            f"{name} is a DataLoader with a {type(sampler).__name__}, which would not be used: every example is read "
            "once an epoch, in an order by the seed; leave it out, and give torch.utils.data.Subset(dataset, indices) "
            "for a part"
        )


def split_held_out(train: Examples, fraction: float) -> tuple[Examples, Examples]:
    """Split off a random `fraction` (at most 16,384 examples) as held-out data, the same on every call.

    Raises `DataError` for a stream, which cannot be split without reading it twice.
    """
    total = train.num_examples
    if total is None:
        raise DataError(
            "a stream cannot be split into training and held-out data; give held-out data of its own (eval)"
        )
    held_out = min(_MAX_HELD_OUT, max(1, round(total * fraction)))
    if held_out >= total:
        raise DataError(f"{total} examples cannot be split into training and held-out data; give more")
    order = epoch_order(total, _SPLIT_SEED, 0)
    order = order if train.indices is None else train.indices[order]
    parts = (order[held_out:].sort().values, order[:held_out].sort().values)
    return tuple(Examples(dataset=train.dataset, collate=train.collate, indices=part) for part in parts)  # type: ignore[return-value]


def data_fingerprint(examples: Examples, code: str, kind: str | None = None) -> str:
    """16 hex digits that change with the data, and with the `code` that it is read by (of `data_code`).

    `kind` is the name of the dataset's class, where another process knew it: what is sent loses the function around it.

    A dataset's own `fingerprint` (or Hugging Face's `_fingerprint`) is taken where it has one; a `TensorDataset` is
    hashed whole; of anything else the type, the length and 64 evenly spaced examples are hashed, drawn from fixed seeds
    where they are random (the global generators are seeded for it).
    """
    digest = hashlib.sha256()
    own = getattr(examples.dataset, "fingerprint", None) or getattr(examples.dataset, "_fingerprint", None)
    if isinstance(own, str):
        digest.update(own.encode())
    elif type(examples.dataset) is TensorDataset:
        for tensor in examples.dataset.tensors:
            _hash_value(digest, tensor)
    else:
        digest.update(f"{kind or _kind(examples)} {examples.num_examples}".encode())
        seed_everything(_SPLIT_SEED)
        for example in examples.spread(_FINGERPRINT_EXAMPLES):
            _hash_value(digest, example)
    if examples.indices is not None:
        _hash_value(digest, examples.indices)
    digest.update(code.encode())
    return digest.hexdigest()[:16]


def _kind(examples: Examples) -> str:
    return type(examples.dataset).__qualname__


def data_code(examples: Examples, pieces: Pieces) -> str:
    """Fingerprints of the dataset's class, if it is the user's own, and of a collate function; fills `pieces`.

    A class with a `code_version` of its own, as those of `flops_fit.datasets`, is known by that instead of its source.
    """
    kind = type(examples.dataset)
    source = vars(kind).get("code_version") or (fingerprint_callable(kind, pieces) if origin(kind) == LOCAL else "")
    if examples.collate is default_collate:
        return source
    version = vars(type(examples.collate)).get("code_version")
    return source + (f"{version} {examples.collate}" if version else fingerprint_callable(examples.collate, pieces))


def _hash_value(digest: Any, value: Any) -> None:
    if isinstance(value, torch.Tensor):
        array = value.detach().cpu().contiguous()
        digest.update(f"{array.dtype}{tuple(array.shape)}".encode())
        digest.update(array.reshape(-1).view(torch.uint8).numpy().data)
    elif isinstance(value, Mapping):
        for key in sorted(value):
            digest.update(str(key).encode())
            _hash_value(digest, value[key])
    elif isinstance(value, Sequence) and not isinstance(value, str | bytes):
        for item in value:
            _hash_value(digest, item)
    elif value is None or isinstance(value, bool | int | float | str | bytes):
        digest.update(repr(value).encode())
    else:  # an image counts by its pixels
        value = np.asarray(value) if hasattr(value, "__array_interface__") else value
        digest.update(content_hash(value).encode())


@dataclass(frozen=True, kw_only=True)
class DataCode:
    """The code that training and held-out data are read by: its fingerprints, and the pieces that it is made of.

    `others` is that of held-out sets besides the first, by name; `kinds` are the names of the classes of all of them,
    training data and first set first. A process that the data was sent to cannot see the source of a class of a
    notebook, nor the function that a class was defined in, so that these go with it.
    """

    training: str
    held_out: str
    pieces: Pieces
    others: Mapping[str, str] = field(default_factory=dict)
    kinds: tuple[str, ...] = ()

    @classmethod
    def of(cls, training: Examples, held_out: Examples, others: Mapping[str, Examples]) -> DataCode:
        """As it is in this process; `others`' pieces decide no experiment, so that they are not among `pieces`."""
        pieces = Pieces()
        return cls(
            training=data_code(training, pieces),
            held_out=data_code(held_out, pieces),
            pieces=pieces,
            others={name: data_code(examples, Pieces()) for name, examples in others.items()},
            kinds=tuple(_kind(examples) for examples in (training, held_out, *others.values())),
        )


@dataclass(frozen=True, kw_only=True)
class StudyData:
    """A study's data, opened: what is trained on, what is held out, how tokens are counted, and the code behind it.

    Of named held-out sets `held_out` is the first, called `held_out_name`, and `more_held_out` the others. The
    `fingerprint` covers training data and first set; `measured_by` has that of each named set. Every held-out example
    is measured `eval_draws` times.
    """

    train: Examples
    held_out: Examples
    tokens: TokenCount
    fingerprint: str
    code: DataCode
    stream_tokens: int | None = None
    held_out_name: str = ""
    more_held_out: Mapping[str, Examples] = field(default_factory=dict)
    measured_by: Mapping[str, str] = field(default_factory=dict)
    eval_draws: int = 1

    @property
    def held_out_sets(self) -> dict[str, Examples]:
        """All that is held out by name, the first first; a single one without a name is called ""."""
        return {self.held_out_name: self.held_out, **self.more_held_out}

    @property
    def tokens_per_example(self) -> int | float:
        """On average where examples differ."""
        return self.tokens.per_example

    @property
    def num_tokens(self) -> int | None:
        """Tokens in the training set; of a stream as many as was said, None where nothing was."""
        count = self.train.num_examples
        return self.stream_tokens if count is None else round(count * self.tokens_per_example)

    def sample(self, count: int) -> Any:
        """The first `count` examples as a batch to measure with; more where they differ, so that they pad as usual."""
        if not self.tokens.varies:
            return self.train.first(count)
        return self.train.batch_of(self.train.spread(_SAMPLE_OF_DIFFERENT))


def prepare_data(
    train: Any,
    held_out: Any = None,
    *,
    tokens_per_example: int | str = "auto",
    eval_fraction: float = 0.02,
    eval_draws: int = 1,
    version: str | None = None,
    code: DataCode | None = None,
    ignored: int = IGNORED,
    stream_tokens: int | None = None,
    pad: int | None = None,
) -> StudyData:
    """Open a study's datasets, split off held-out data where none is given, count tokens and fingerprint it all.

    `held_out` is a dataset, or a mapping of several by name. `code` is that of the process which sent the data here, if
    one did; `version` stands for data and code; `ignored` is the target that the loss leaves out; `stream_tokens` is
    how many tokens a stream gives; `eval_draws` how often each held-out example is measured; `pad` the token that
    examples of different lengths are filled up with. Warns where padding enters the loss.
    """
    padding = None if pad is None else Padding(token=pad, ignored=ignored)
    training = open_examples(train, "dataset", padding)
    if stream_tokens is not None and training.num_examples is not None:
        raise DataError(
            f"stream_tokens = {stream_tokens:,} is for streams, and this dataset has {training.num_examples:,} "
            "examples, which are counted; leave it out"
        )
    others: dict[str, Examples] = {}
    first = ""
    if held_out is None:
        training, evaluation = split_held_out(training, eval_fraction)
    else:
        opened = _open_held_out(held_out, train, padding)
        first, evaluation = next(iter(opened.items()))
        others = {name: examples for name, examples in opened.items() if name != first}
    with isolated_random_state():
        auto = tokens_per_example == "auto"
        if auto:  # else nothing of the data need be read before it is trained on
            _refuse_lists(training)
        tokens = count_tokens(training, ignored) if auto else TokenCount(per_example=int(tokens_per_example))
        if version:
            code, parts = DataCode(training="", held_out="", pieces={}), [version]
            measured_by = dict.fromkeys([first, *others], version)
        else:
            code = code or DataCode.of(training, evaluation, others)
            of_training, of_first, *of_others = code.kinds
            parts = [
                data_fingerprint(training, code.training, of_training),
                data_fingerprint(evaluation, code.held_out, of_first),
            ]
            own = {
                name: data_fingerprint(examples, code.others[name], kind)
                for (name, examples), kind in zip(others.items(), of_others, strict=True)
            }
            measured_by = {first: parts[1], **own}
    if tokens.counts_padding:
        warnings.warn(_of_padding(padding, ignored), FlopsFitWarning, stacklevel=2)
    more = [{"eval_draws": eval_draws}] if eval_draws > 1 else []
    fingerprint = hashlib.sha256(repr([*parts, tokens.per_example, *more]).encode()).hexdigest()[:16]
    return StudyData(
        train=training,
        held_out=evaluation,
        tokens=tokens,
        fingerprint=fingerprint,
        code=code,
        stream_tokens=stream_tokens,
        held_out_name=first,
        more_held_out=others,
        measured_by=measured_by if first else {},
        eval_draws=eval_draws,
    )


def _of_padding(padding: Padding | None, ignored: int) -> str:
    if padding is None:
        return (
            "the collate_fn pads targets with values that enter the loss, so that it depends on the batch; pad "
            f"targets with {ignored}, which the loss leaves out"
        )
    return (
        f"examples are single rows, in which the model finds its targets itself: where pad = {padding.token} fills "
        "them up these enter the loss, unless the model leaves that token out; give pairs (row, row) or mappings with "
        f"labels, whose targets are filled up with {ignored}"
    )


def _refuse_lists(examples: Examples) -> None:
    """Raise `DataError` for rows of numbers that are Python's lists: torch makes an input of each place,
    and an example would be one token."""
    if examples.num_examples is None or examples.collate is not default_collate:
        return
    (item,) = examples.spread(1)
    parts = item.values() if isinstance(item, Mapping) else item if isinstance(item, list | tuple) else ()
    row = next((part for part in parts if isinstance(part, list) and len(part) > 1), None)
    if row is not None and all(isinstance(number, int | float) for number in row):
        ragged = ", or give pad (pad = 0, in [data])" if all(isinstance(number, int) for number in row) else ""
        raise DataError(
            f"examples hold lists, such as {str(row[:3])[:-1]}, ...] of {len(row)} numbers, of which torch makes "
            f"{len(row)} inputs; make them tensors: torch.tensor(row){ragged}"
        )


def _open_held_out(held_out: Any, train: Any, padding: Padding | None) -> dict[str, Examples]:
    """Held-out sets by name; a single one is called ""."""
    given = held_out if isinstance(held_out, Mapping) else {"": held_out}
    opened = {}
    for name, dataset in given.items():
        called = f"eval_dataset {name!r}" if name else "eval_dataset"
        opened[name] = open_examples(dataset, called, padding)
        if dataset is train:
            warnings.warn(
                f"{called} is the training data itself: its loss is not held-out", FlopsFitWarning, stacklevel=3
            )
    return opened
