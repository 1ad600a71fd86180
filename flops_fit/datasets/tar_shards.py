"""Examples from WebDataset-like shards, read where they stand: in any order, without unpacking."""

from __future__ import annotations

import warnings
from pathlib import Path
from tarfile import BLOCKSIZE
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset

from flops_fit.basics.arguments import did_you_mean
from flops_fit.datasets.content import content_of, stamp_of
from flops_fit.datasets.files import Paths, files_of
from flops_fit.datasets.tar_samples import READ, TEXTS, Member, content, decoded, samples_of
from flops_fit.errors import DataError, FlopsFitWarning
from flops_fit.processes.alive import still_alive

_IN_KWARGS = '(in a study file: kwargs = { inputs = "jpg", targets = "cls" } in [data])'


class TarShards(Dataset[Any]):
    """`.tar` shards as a map-style dataset of pairs: example i is the i-th sample, shards in the order of their names.

    Args:
        path: a file, a glob, or a list.
        inputs, targets: the endings of a sample's members that are these, such as "jpg" and "cls"; `.cls` is a whole
            number, `.json` a number or rows of numbers, `.npy` an array, an image its pixels, uint8 (channels, height,
            width). One of both may be left out where samples have but one other member.

    The headers are read once when it is opened, the members when they are asked for, so that order and resuming are
    those of any map-style dataset. Raises `DataError` for shards that are not there, torn or packed, and for a sample
    that lacks a member.
    """

    code_version = "TarShards/1"  # stands in ids for the source of this class

    def __init__(self, path: Paths, *, inputs: str | None = None, targets: str | None = None) -> None:
        self._files = tuple(files_of(path))
        self._stamps = [stamp_of(file) for file in self._files]
        self.inputs, self.targets = _endings(self._files[0], inputs, targets)
        counts, places = [], []
        for file in self._files:
            there = _places(file, (self.inputs, self.targets))
            _warn_of_cut(file, len(there))
            counts.append(len(there))
            places.append(there)
        self._ends = np.cumsum(counts)
        self._places = np.concatenate(places)  # (samples, 4): first byte and size of inputs and targets

    def __len__(self) -> int:
        """How many samples there are."""
        return len(self._places)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Sample `index` as (inputs, targets); raises `IndexError` where there is none."""
        where = int(index) + (len(self) if index < 0 else 0)
        if not 0 <= where < len(self):
            raise IndexError(f"example {index} of {len(self):,}")
        number = int(np.searchsorted(self._ends, where, side="right"))
        file, (first, size, first_target, size_target) = self._files[number], self._places[where].tolist()
        if stamp_of(file)[:2] != self._stamps[number][:2]:
            raise DataError(f"{file} was written since it was opened; start again with the file as it is")
        return (
            self._member(file, self.inputs, Member(first=first, size=size), where),
            self._member(file, self.targets, Member(first=first_target, size=size_target), where),
        )

    @staticmethod
    def _member(file: Path, ending: str, member: Member, where: int) -> torch.Tensor:
        return decoded(content(file, member), ending, f"sample {where:,}, the .{ending} in {file}")

    @property
    def fingerprint(self) -> str:
        """What the examples are made of: the two endings, and the SHA-256 of every shard."""
        files = [content_of(file).digest for file in self._files]
        return "; ".join([f"tar inputs={self.inputs} targets={self.targets}", *files])


def _places(file: Path, endings: tuple[str, str]) -> np.ndarray[Any, Any]:
    rows = []
    for number, (key, members) in enumerate(samples_of(file)):
        if number % 4096 == 0:
            still_alive()
        for ending in endings:
            if ending not in members:
                there = ", ".join(f".{name}" for name in members)
                raise DataError(f"{file}: sample {key} has {there} and no .{ending}; add it, or take the sample out")
        rows.append([part for ending in endings for part in (members[ending].first, members[ending].size)])
    if not rows:
        raise DataError(f"{file} holds no sample: members are called key.ending, such as 000001.jpg; write some to it")
    return np.array(rows, np.int64)


def _warn_of_cut(file: Path, samples: int) -> None:
    """A tar ends in two empty blocks; one that was cut between two samples looks whole but for these."""
    with file.open("rb") as opened:
        opened.seek(max(0, file.stat().st_size - 2 * BLOCKSIZE))
        if any(opened.read()):
            warnings.warn(
                f"{file} does not end as a tar does, so it may be cut; it has {samples:,} samples: compare its size "
                "with that of where it is from, or write it again",
                FlopsFitWarning,
                stacklevel=4,
            )


def _endings(file: Path, inputs: str | None, targets: str | None) -> tuple[str, str]:
    """The endings of inputs and targets; what is left out is told by the first sample, where there is one choice."""
    _, members = next(iter(samples_of(file)), ("", {}))
    there = [name for name in members if name.rpartition(".")[2] in READ]
    given = {
        name: str(value).lower().lstrip(".") for name, value in (("inputs", inputs), ("targets", targets)) if value
    }
    for name, ending in given.items():
        _refuse_ending(name, ending, list(members), file)
    if len(given) == 2:
        return given["inputs"], given["targets"]
    left = [name for name in there if name not in given.values()]
    if len(left) == 1 and given:
        return given.get("inputs", left[0]), given.get("targets", left[0])
    raise DataError(
        f"{file} has samples of {', '.join(f'.{name}' for name in members) or 'nothing'}; say which are inputs and "
        f"which targets {_IN_KWARGS}{_of_text(list(members))}"
    )


def _refuse_ending(name: str, ending: str, there: list[str], file: Path) -> None:
    if ending not in there:
        hint = did_you_mean(ending, there, f"there are {', '.join(there) or 'none'}")
        raise DataError(f"{name} = {ending!r} is no ending of the first sample of {file}; {hint}")
    if ending.rpartition(".")[2] not in READ:
        raise DataError(
            f"{name} = {ending!r} cannot be made a tensor; read are {', '.join(READ)}{_of_text([ending])}; or write a "
            "Dataset of your own and name it as package.module:attribute"
        )


def _of_text(endings: list[str]) -> str:
    text = any(name.rpartition(".")[2] in TEXTS for name in endings)
    return "; of text give tokenizer and context" if text else ""
