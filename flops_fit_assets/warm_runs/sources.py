"""Which files a process has loaded, and whether they are still as they were."""

from __future__ import annotations

import os
import sys
import sysconfig
import time
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from importlib import machinery
from importlib.util import source_from_cache
from typing import Any

_INSTALLED = tuple(sysconfig.get_path(which) for which in ("stdlib", "platstdlib", "purelib", "platlib"))
_MODULES = (*machinery.SOURCE_SUFFIXES, *machinery.EXTENSION_SUFFIXES)
_MADE_UP = ("/proc/", "/sys/", "/dev/")
_CLOCK_NS = 50_000_000  # a file system's clock may be behind that of `time` by as much


@dataclass(frozen=True, kw_only=True)
class Sources:
    """The files of modules and what was read with them, and the names in the folders that modules are found in, as they
    were when they were loaded.

    `settled` is whether none of them was written while they were loaded: else what is loaded may be older.
    """

    files: Mapping[str, tuple[int, ...]]
    folders: Mapping[str, tuple[str, ...]]
    settled: bool

    @classmethod
    def loaded(
        cls, since: float, besides: Collection[str] = (), installed: bool = True, read: Collection[str] = ()
    ) -> Sources:
        """Of what this process has imported but the modules `besides`, having begun at the time `since`, and `read`.

        Without `installed`, modules of the standard library and of site-packages are left out.
        """
        modules = {file for file in _files(besides) if installed or not file.startswith(_INSTALLED)}
        names = modules | set(read)
        files = {file: _state(file) for file in names}
        return cls(
            files=files,
            folders={folder: _names(folder) for folder in _own_folders(modules)},
            settled=all(max(state[:2], default=0) < since * 1e9 - _CLOCK_NS for state in files.values()),
        )

    @property
    def unchanged(self) -> bool:
        """Whether a process that loads now would load the same."""
        return (
            self.settled
            and all(_state(file) == state for file, state in self.files.items())
            and all(_names(folder) == names for folder, names in self.folders.items())
        )


def now() -> float:
    """The time, as `Sources.loaded` takes it."""
    return time.time()


class FilesRead:
    """Notes what this process reads from now on, until `stop`: a study file, settings, small data, SQLite's databases,
    and folders whose names it lists."""

    def __init__(self) -> None:
        self._names: set[str] | None = set()
        sys.addaudithook(self._note)  # which nobody can take away again

    def stop(self) -> set[str]:
        """What was read, but what the system makes up; of what Python has compiled the source."""
        names, self._names = self._names or set(), None
        return {_source(name) for name in names if not name.startswith(_MADE_UP)}

    def _note(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self._names is None:
            return
        if event == "open":
            path, mode, flags = arguments
            if flags & os.O_ACCMODE == os.O_RDONLY if mode is None else mode.strip("bt") == "r":
                self._names |= _named(path)
        elif event == "sqlite3.connect":
            for file in _named(arguments[0]):
                self._names |= {file, f"{file}-wal"}  # the second has what was written last
        elif event in ("os.listdir", "os.scandir") and not _lists_modules(sys._getframe(1).f_code.co_filename):
            self._names |= {folder for folder in _named(arguments[0] or ".") if not folder.startswith(_INSTALLED)}


def _named(path: Any) -> set[str]:
    """The file or folder of this name; none for a descriptor, which somebody has opened by its name."""
    return {os.path.abspath(os.fsdecode(path))} if isinstance(path, (str, bytes, os.PathLike)) else set()


def _lists_modules(asking: str) -> bool:
    """Whether the source file `asking` lists folders to find modules: `Sources.folders` knows of these."""
    return "importlib" in asking


def _files(besides: Collection[str]) -> Iterator[str]:
    for name, module in list(sys.modules.items()):
        if name not in besides and (file := getattr(module, "__file__", None)):
            yield file


def _state(file: str) -> tuple[int, ...]:
    """Changes with every write, also where the time of the content is set back (`cp -p`, `rsync -t`)."""
    try:
        status = os.stat(file)
    except OSError:
        return ()
    return status.st_mtime_ns, status.st_ctime_ns, status.st_size, status.st_ino


def _source(file: str) -> str:
    try:
        return source_from_cache(file)
    except ValueError:  # nothing that Python has compiled
        return file


def _own_folders(modules: Collection[str]) -> set[str]:
    """Those that modules are found in, and those of `modules`: a code location's own is in `sys.path` only while it is
    loaded."""
    found = {entry or os.getcwd() for entry in sys.path} | {os.path.dirname(os.path.abspath(file)) for file in modules}
    return {folder for folder in found if not folder.startswith(_INSTALLED)}


def _names(folder: str) -> tuple[str, ...]:
    """The modules and packages that could be imported from a folder."""
    try:
        found = os.listdir(folder)
    except OSError:
        return ()
    return tuple(sorted(name for name in found if _is_module(folder, name)))


def _is_module(folder: str, name: str) -> bool:
    if name.endswith(_MODULES):
        return True
    return "." not in name and os.path.exists(os.path.join(folder, name, "__init__.py"))
