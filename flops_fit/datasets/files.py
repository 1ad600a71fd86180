"""Which files a path, a glob or a list of them stands for, and the folder for what is kept between runs."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from flops_fit.basics.arguments import did_you_mean
from flops_fit.errors import DataError

Paths = str | os.PathLike[str] | Sequence[str | os.PathLike[str]]
_REFERENCE = re.compile(r"[^\W\d][\w.]*:[^\W\d][\w.]*")
_ENDINGS = (".bin", ".npy", ".txt", ".md", ".json", ".jsonl", ".ndjson", ".parquet", ".gz", ".tar")
OF_METRICS = ("bytes_per_token",)  # options that change no example, so that ids do not follow from them
CACHE_VARIABLE = "FLOPS_FIT_CACHE"


def is_paths(source: Any) -> bool:
    """Whether data is given as a path, a glob, or a list of them."""
    if isinstance(source, list | tuple):
        return bool(source) and all(map(is_paths, source))
    return isinstance(source, str | os.PathLike)


def is_file_name(value: Any) -> bool:
    """Whether text in a study file, or every text of a list, is a path and no `"package.module:attribute"`.

    It is one by a folder, an ending or a `*`: a name with none of these is left to be refused as a reference.
    """
    if isinstance(value, list | tuple):
        return bool(value) and all(map(is_file_name, value))
    if not isinstance(value, str) or _REFERENCE.fullmatch(value):
        return False
    return "/" in value or os.sep in value or "*" in value or Path(value).suffix in _ENDINGS


def files_of(paths: Paths) -> list[Path]:
    """The files of a path, a glob such as `"data/*.bin"`, or a list of either; those of a glob sorted by name.

    Raises `DataError` for one that is not there.
    """
    given = [paths] if isinstance(paths, str | os.PathLike) else list(paths)
    if not given:
        raise DataError("an empty list of files; give at least one path")
    return [file for item in given for file in _files(Path(os.path.expanduser(os.fspath(item))))]


def _files(path: Path) -> list[Path]:
    if path.exists():
        return [path]
    found = sorted(Path(name) for name in glob.glob(str(path), recursive=True))
    if not found:
        raise DataError(f"{path} does not exist; {_nearest(path)}")
    return found


def _nearest(path: Path) -> str:
    """What to do about a path that is not there."""
    folder = path.parent
    if not folder.is_dir():
        return f"nor does the folder {folder}; a path in a study file is taken from the folder that the file is in"
    there = sorted(item.name for item in folder.iterdir() if not item.name.startswith("."))
    return did_you_mean(path.name, there, f"{folder} holds {', '.join(there[:8]) or 'nothing'}")


def cache_folder() -> Path:
    """Where hashes and tokenized text are kept: `FLOPS_FIT_CACHE`, else `flops_fit` in the user's cache folder."""
    given = os.environ.get(CACHE_VARIABLE)
    if given:
        return Path(given).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "flops_fit"


def absolute(source: Any, folder: Path) -> Any:
    """A path, or a list of them, with those that are relative taken from `folder`."""
    if isinstance(source, list | tuple):
        return tuple(absolute(item, folder) for item in source)
    return str(folder / os.path.expanduser(source))
