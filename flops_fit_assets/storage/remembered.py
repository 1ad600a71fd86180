"""Values of files that are read again and again, remembered until their file changes.

A long-lived process (a worker of `flops-fit run`, the code server behind the pages) would otherwise read the plan of
thousands of experiments for every training, and all their results whenever one has ended. What is remembered is shared,
so it must be of a frozen class.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

_YOUNG_NS = 1_000_000_000  # a file written so lately may be written again within one tick of its file system's clock
Stamp = tuple[int, int, int, int]


class Remembered:
    """`read(path)` of files, of which the `most` that were asked for last are remembered."""

    def __init__(self, read: Callable[[Path], Any], most: int) -> None:
        self._read, self._most = read, most
        self._known: OrderedDict[Path, tuple[Stamp, Any]] = OrderedDict()

    def __call__(self, path: Path) -> Any:
        """The value in `path`; raises what reading it raises, and remembers no failure."""
        stamp = _stamp(path)
        known = self._known.get(path)
        if known is not None and known[0] == stamp:
            self._known.move_to_end(path)
            return known[1]
        value = self._read(path)
        if stamp is not None and _is_settled(stamp):
            self._known[path] = stamp, value
            self._known.move_to_end(path)
        while len(self._known) > self._most:
            self._known.popitem(last=False)
        return value


def _stamp(path: Path) -> Stamp | None:
    try:
        found = path.stat()
    except OSError:  # reading says what is wrong
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def _is_settled(stamp: Stamp) -> bool:
    return max(stamp[2:]) + _YOUNG_NS < time.time_ns()
