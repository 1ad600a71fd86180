"""What a file of tokens holds: its SHA-256 and its range of ids, read once and remembered until the file is written."""

from __future__ import annotations

import contextlib
import hashlib
import os
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from flops_fit.basics.files import read_value, write_value
from flops_fit.datasets.files import cache_folder
from flops_fit.errors import FileError
from flops_fit.identity.fingerprints import content_hash
from flops_fit.processes.alive import still_alive

_SCHEMA = "flops_fit.file_content/1"
_CHUNK_BYTES = 1 << 24
_SETTLED_SECONDS = 2.0  # within the grain of a file system's clock a second write may leave the same times
_known: dict[str, Content] = {}


@dataclass(frozen=True, kw_only=True)
class Content:
    """SHA-256 of a part of a file, as hex digits; the least and the greatest number in it, 0 where read as bytes."""

    digest: str
    least: int = 0
    most: int = 0


def stamp_of(path: Path) -> list[int]:
    """Size, times and inode: others once the file is written, replaced or touched."""
    status = path.stat()
    return [status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino]


def content_of(path: Path, dtype: np.dtype[Any] | None = None, first: int = 0, end: int | None = None) -> Content:
    """Of the bytes from `first` to before `end`, and of the numbers of type `dtype` that they are.

    Every byte is read, once: what was found is remembered in the cache folder under the file's path, size, times and
    inode, so that a file which is written again is read again.
    """
    stamp = stamp_of(path)
    key = content_hash([str(path.resolve()), str(dtype), first, end, stamp])
    if key not in _known:
        kept = cache_folder() / "contents" / f"{key}.json"
        begin = time.time()
        found = _kept(kept) or _read(path, dtype, first, end)
        if begin - max(stamp[1:3]) / 1e9 > _SETTLED_SECONDS and stamp_of(path) == stamp:
            _known[key] = found
            _keep(kept, found)
        return found
    return _known[key]


def chunks_of(path: Path, first: int = 0, end: int | None = None) -> Iterator[bytes]:
    """The bytes from `first` to before `end`, 16 MiB at a time."""
    with path.open("rb") as file:
        file.seek(first)
        left = (path.stat().st_size if end is None else end) - first
        while left > 0 and (chunk := file.read(min(left, _CHUNK_BYTES))):
            yield chunk
            left -= len(chunk)
            still_alive()


def _read(path: Path, dtype: np.dtype[Any] | None, first: int, end: int | None) -> Content:
    digest, least, most = hashlib.sha256(), [], []
    for chunk in chunks_of(path, first, end):
        digest.update(chunk)
        if dtype is not None:
            numbers = np.frombuffer(chunk, dtype)
            least.append(int(numbers.min()))
            most.append(int(numbers.max()))
    return Content(digest=digest.hexdigest(), least=min(least, default=0), most=max(most, default=0))


def _kept(path: Path) -> Content | None:
    try:
        return read_value(path, _SCHEMA, lambda found: Content(**{name: found[name] for name in asdict(_EMPTY)}))
    except (FileNotFoundError, FileError, KeyError, TypeError, PermissionError):
        return None


def _keep(path: Path, content: Content) -> None:
    with contextlib.suppress(OSError):  # without a cache folder a file is read once in every process
        if not os.path.lexists(path):
            write_value(path, {"schema": _SCHEMA, **asdict(content)})


_EMPTY = Content(digest="")
