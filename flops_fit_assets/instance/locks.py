"""One headless run at a time for a study, and one set of pages and daemon for a home."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from flops_fit.errors import FlopsFitError


class AlreadyRunning(FlopsFitError):
    """Another process is at work on the same study, or on the same home."""


@contextmanager
def study_lock(directory: Path) -> Iterator[None]:
    """Hold the study in `directory`; raises `AlreadyRunning` where another process does. Ends with the process."""
    with _held(directory / ".lock", f"is running the study in {directory}"):
        yield


@contextmanager
def pages_lock(home: Path) -> Iterator[TextIO]:
    """Hold Dagster's daemon and pages of `home`: two daemons would start everything twice.

    A process that inherits the open file holds it too, and `say_holder` names that one.
    """
    with _held(home / "dagster" / ".ui.lock", f"has the pages and the daemon of {home} open") as lock:
        yield lock


def say_holder(lock: TextIO, process: int) -> None:
    """Write into a lock which process it is that holds it."""
    lock.truncate(0)
    lock.write(str(process))
    lock.flush()


@contextmanager
def _held(path: Path, what: str) -> Iterator[TextIO]:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            lock.seek(0)
            raise AlreadyRunning(
                f"process {lock.read().strip() or 'unknown'} {what}; wait for it or stop it, or give this one another "
                "FLOPS_FIT_HOME"
            ) from error
        say_holder(lock, os.getpid())
        yield lock
