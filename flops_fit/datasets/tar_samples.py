"""Samples in a `.tar` as WebDataset packs them: members one after the other that differ in their endings alone."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from flops_fit.errors import DataError

TAR = ".tar"
NUMBERS, IMAGES, TEXTS = ("cls", "cls2", "id", "index"), ("jpg", "jpeg", "png", "webp", "bmp"), ("txt", "text")
READ = (*NUMBERS, "npy", "json", *IMAGES)


@dataclass(frozen=True, kw_only=True)
class Member:
    """Where the content of a member is in its file."""

    first: int
    size: int


def samples_of(path: Path) -> Iterator[tuple[str, Mapping[str, Member]]]:
    """Samples in order: the key that its members share, and the members by ending.

    The key is a member's path up to the first dot of its name, the ending what follows, as in WebDataset. Raises
    `DataError` for what is no tar, packed or torn, and for an ending that stands twice in a sample.
    """
    try:
        with tarfile.open(path, "r:") as opened:
            yield from _grouped(path, opened)
    except (tarfile.TarError, EOFError) as error:
        packed = path.read_bytes()[:2] == b"\x1f\x8b"
        remedy = "it is packed: gunzip it, since places in it are read at random" if packed else "write it again"
        raise DataError(f"{path} cannot be read as a tar ({error}); {remedy}") from error


def _grouped(path: Path, opened: tarfile.TarFile) -> Iterator[tuple[str, Mapping[str, Member]]]:
    key, members = "", dict[str, Member]()
    for item in opened:
        if not item.isfile():
            continue
        folder, slash, name = item.name.rpartition("/")
        stem, dot, ending = name.partition(".")
        if not dot or not stem:  # a file of no sample, such as README
            continue
        if folder + slash + stem != key and members:
            yield key, members
            members = {}
        key = folder + slash + stem
        if ending.lower() in members:
            raise DataError(
                f"{path} has {item.name} twice in one sample; give each sample a key of its own: the members' name up "
                "to the first dot"
            )
        members[ending.lower()] = Member(first=item.offset_data, size=item.size)
    if members:
        yield key, members


def content(path: Path, member: Member) -> bytes:
    """The bytes of a member."""
    with path.open("rb") as file:
        file.seek(member.first)
        return file.read(member.size)


def decoded(data: bytes, ending: str, where: str) -> torch.Tensor:
    """What a member holds as a tensor, by its ending: a number, an array, rows of JSON, or the pixels of an image.

    Numbers are int64 (float32 with a point); an image is uint8 (channels, height, width). Raises `DataError` naming
    `where` for what cannot be decoded.
    """
    kind = ending.rpartition(".")[2]
    try:
        if kind in IMAGES:
            return _pixels(data)
        if kind == "npy":
            return torch.from_numpy(np.load(io.BytesIO(data), allow_pickle=False))
        return _numbers(json.loads(data))
    except ImportError as error:
        raise DataError(f"{where} needs the package Pillow: pip install pillow") from error
    except (ValueError, TypeError, OSError, RecursionError, EOFError) as error:
        raise DataError(f"{where} cannot be read as {kind} ({error}); mend it, or take the sample out") from error


def _numbers(value: Any) -> torch.Tensor:
    made = torch.tensor(value)
    return made if made.is_floating_point() else made.long()


def _pixels(data: bytes) -> torch.Tensor:
    from PIL import Image

    with Image.open(io.BytesIO(data)) as image:
        known = image.mode in ("L", "RGB")  # else palettes, transparency, 16 bits
        pixels = torch.from_numpy(np.array(image if known else image.convert("RGB"), np.uint8))
    return pixels[None] if pixels.ndim == 2 else pixels.permute(2, 0, 1).contiguous()
