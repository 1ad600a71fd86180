"""A study's folder on this machine as a working copy of its folder in the storage.

Of two contents the storage's counts. Only what was written here and has never been stored goes the other way: the
result of a training whose upload failed, or a study that was there before the storage was. A `.json` file that has to
give way is set aside, so that no result is lost; checkpoints, logs and figures are replaced.
"""

from __future__ import annotations

import filecmp
import os
import posixpath
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from flops_fit.basics.files import set_aside
from flops_fit_assets.storage.copies import Copies, Copy, decide, state_of
from flops_fit_assets.storage.remote import Storage, StorageError

_EVIDENCE = ".unusable"  # in the name of what `set_aside` renamed
_LAST = ("log.jsonl", "result.json")  # a log is at least as long as its checkpoint; a result makes all else final


@dataclass(frozen=True, kw_only=True)
class Mirror:
    """The working copy in `directory` of what is in `storage`; methods raise `StorageError`."""

    storage: Storage
    directory: Path

    def pull(self, *paths: Path) -> None:
        """Make files of the working copy what they are in the storage; absent there is absent here.

        What was written here and never stored is stored instead.
        """
        names = [self._name(path) for path in paths]
        self._reconcile(names, self.storage.stamps(names))

    def push(self, *paths: Path) -> None:
        """Store files that were written here."""
        self._upload([self._name(path) for path in paths])

    def pull_folder(self, folder: Path) -> None:
        """`pull` of every file of a folder; what was set aside is left where it is."""
        inside = self._name(folder)
        stored = self.storage.listing(inside)
        names = {*stored, *self._files(folder), *self._copies.in_folder(inside)}
        self._reconcile([name for name in sorted(names) if _EVIDENCE not in name], stored)

    def push_folder(self, folder: Path, *, remove: bool) -> None:
        """Store what has changed in an experiment's folder since the last time.

        With `remove`, what was removed or set aside here since then is removed there too.
        """
        inside = self._name(folder)
        known = self._copies.in_folder(inside)
        self._name_evidence_anew(folder, known)
        names = self._files(folder)
        changed = [name for name in names if name not in known or known[name].local != state_of(self.directory / name)]
        for group in _in_order(changed):
            self._upload(group)
        gone = [name for name in known if name not in names]
        if remove and gone:
            self.storage.remove(gone)
            self._copies.update(dict.fromkeys(gone))

    @property
    def _copies(self) -> Copies:
        return Copies(directory=self.directory, storage=str(self.storage))

    def _name(self, path: Path) -> str:
        return path.relative_to(self.directory).as_posix()

    def _files(self, folder: Path) -> list[str]:
        """Files below `folder` without hidden ones: locks, records, and what is being written."""
        found = []
        for place, folders, files in os.walk(folder):  # unlike glob, does not fail when a trainer removes a folder
            folders[:] = [name for name in folders if not name.startswith(".")]
            found += [self._name(Path(place) / name) for name in files if not name.startswith(".")]
        return found

    def _reconcile(self, names: Sequence[str], stored: Mapping[str, str]) -> None:
        known = self._copies.of(names)
        todo: dict[str, list[str]] = {}
        for name in names:
            what = decide(stored.get(name), known.get(name), state_of(self.directory / name))
            todo.setdefault(what, []).append(name)
        self._drop(todo.get("drop", []))
        self._download([*todo.get("download", []), *todo.get("replace", [])], stored, todo.get("replace", []))
        self._upload(todo.get("upload", []))

    def _refuse_emptied(self) -> None:
        """Neither believe a storage that has lost everything, nor begin to fill it again."""
        if self._copies.known() and self.storage.is_empty():
            raise StorageError(
                f"storage {self.storage} holds nothing, although {self.directory} is a copy of what it held; see that "
                f"it is mounted and is the right one, or remove {self.directory} to start over"
            )

    def _drop(self, names: Sequence[str]) -> None:
        if names:
            self._refuse_emptied()
        for name in names:
            self._give_way(name)
        self._copies.update(dict.fromkeys(names))

    def _give_way(self, name: str) -> None:
        path = self.directory / name
        if path.suffix == ".json":
            set_aside(path)
        else:
            path.unlink(missing_ok=True)

    def _download(self, names: Sequence[str], stored: Mapping[str, str], rivals: Sequence[str]) -> None:
        """Bring `names` here; of these, `rivals` have a content of their own here."""
        if not names:
            return
        brought = {name: _beside(self.directory / name) for name in names}
        try:
            self.storage.download(brought)
            for name, temporary in brought.items():
                _sync(temporary)  # what is noted as a copy must be one after a power failure too
                path = self.directory / name
                if name in rivals and not filecmp.cmp(path, temporary, shallow=False):
                    self._give_way(name)
                os.replace(temporary, path)
        finally:
            for temporary in brought.values():
                temporary.unlink(missing_ok=True)
        self._remember(names, stored)

    def _upload(self, names: Sequence[str]) -> None:
        if not names:
            return
        self._refuse_emptied()
        before = {name: state_of(self.directory / name) for name in names}
        self.storage.upload({name: self.directory / name for name in names})
        stored = self.storage.stamps(names)
        self._copies.update(
            {name: Copy(stamp=stored[name], local=state) for name, state in before.items() if state and name in stored}
        )

    def _remember(self, names: Iterable[str], stored: Mapping[str, str]) -> None:
        states = {name: state_of(self.directory / name) for name in names}
        self._copies.update(
            {name: Copy(stamp=stored[name], local=state) for name, state in states.items() if state is not None}
        )

    def _name_evidence_anew(self, folder: Path, known: Mapping[str, Copy]) -> None:
        """Give what was set aside here a name that no other machine's evidence has in the storage."""
        new = [name for name in self._files(folder) if _EVIDENCE in name and name not in known]
        taken = set(self.storage.listing(self._name(folder))) if new else set()
        for name in new:
            free, number = name, 0
            while free in taken or (free != name and (self.directory / free).exists()):
                number += 1
                free = f"{name.partition(_EVIDENCE)[0]}{_EVIDENCE}-{number}"
            (self.directory / name).rename(self.directory / free)


def _sync(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())


def _beside(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.tmp")


def _in_order(names: Sequence[str]) -> list[list[str]]:
    last = [[name for name in names if posixpath.basename(name) == end] for end in _LAST]
    others = [name for name in names if posixpath.basename(name) not in _LAST]
    return [group for group in (others, *last) if group]
