"""What is known of the files in a working copy: which content of the storage each was a copy of, and when.

One small file in each experiment's folder, one for the rest of the study. Losing it loses nothing: copies are compared.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from filelock import FileLock

from flops_fit.basics.files import read_value, set_aside, write_value
from flops_fit.basics.from_json import from_json
from flops_fit.errors import FileError

RECORD_FILE, _LOCK = ".stored.json", ".stored.lock"
_SCHEMA = "flops_fit.stored/1"
State = tuple[int, int]  # size, and nanoseconds of the last write


@dataclass(frozen=True, kw_only=True)
class Copy:
    """A file when it was last the same here and in the storage."""

    stamp: str
    local: State


@dataclass(frozen=True, kw_only=True)
class _Record:
    """What a record file holds: the storage's name, and file name → its stamp, size and time of the last write."""

    storage: str
    files: Mapping[str, tuple[str, int, int]]


@dataclass(frozen=True, kw_only=True)
class Copies:
    """The records of the working copy in `directory`, of the storage called `storage` alone."""

    directory: Path
    storage: str

    def of(self, names: Iterable[str]) -> dict[str, Copy]:
        """What is known of `names`."""
        found: dict[str, Copy] = {}
        for path, wanted in self._by_record(names).items():
            held = self._read(path)
            found |= {name: held[name] for name in wanted if name in held}
        return found

    def known(self) -> bool:
        """Whether anything of the study itself (its map, plan, law) is a copy of the storage."""
        return bool(self._read(self.directory / RECORD_FILE))

    def in_folder(self, folder: str) -> dict[str, Copy]:
        """What is known of the files below `folder`."""
        held = self._read(self._record(f"{folder}/any"))
        return {name: copy for name, copy in held.items() if name.startswith(f"{folder}/")}

    def update(self, changes: Mapping[str, Copy | None]) -> None:
        """Remember copies, and forget those given as None."""
        if not changes:
            return
        self.directory.mkdir(parents=True, exist_ok=True)
        with FileLock(self.directory / _LOCK):  # several processes may bring the same study's files
            for path, names in self._by_record(changes).items():
                held = self._read(path) | {name: changes[name] for name in names}
                files = {name: [copy.stamp, *copy.local] for name, copy in held.items() if copy is not None}
                write_value(path, {"schema": _SCHEMA, "storage": self.storage, "files": files})

    def _by_record(self, names: Iterable[str]) -> dict[Path, list[str]]:
        found: dict[Path, list[str]] = {}
        for name in names:
            found.setdefault(self._record(name), []).append(name)
        return found

    def _record(self, name: str) -> Path:
        parts = PurePosixPath(name).parts
        own = parts[0] == "runs" and len(parts) > 2
        return (self.directory.joinpath(*parts[:2]) if own else self.directory) / RECORD_FILE

    def _read(self, path: Path) -> dict[str, Copy]:
        try:
            held = read_value(path, _SCHEMA, lambda content: from_json(_Record, content, without=["schema"]))
        except FileNotFoundError:
            return {}
        except FileError:
            set_aside(path)
            return {}
        if held.storage != self.storage:  # of another storage, which says nothing about this one
            return {}
        return {name: Copy(stamp=stamp, local=(size, when)) for name, (stamp, size, when) in held.files.items()}


def state_of(path: Path) -> State | None:
    """Size and time of the last write; None where there is no file."""
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    return status.st_size, status.st_mtime_ns


def decide(stored: str | None, known: Copy | None, local: State | None) -> str:
    """What makes the working copy of one file agree with the storage.

    Args:
        stored: its stamp in the storage, None where it is not there.
        known: when the two last agreed, None where they never did.
        local: its state here, None where it is not here.

    Returns:
        "nothing"; "download"; "upload" what was written here and is nowhere else; "replace" what was written here by
        what another machine has stored since; "drop" the copy of what was removed from the storage.
    """
    if local is None:
        return "nothing" if stored is None else "download"
    if stored is None:
        return "upload" if known is None else "drop"
    if known is None:
        return "replace"
    if known.stamp == stored:
        return "nothing" if known.local == local else "upload"
    return "download" if known.local == local else "replace"
