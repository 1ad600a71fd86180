"""One headless run at a time for a study."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from flops_fit.errors import FlopsFitError


class AlreadyRunning(FlopsFitError):
    """Another process is at work on the same study in the same home."""


@contextmanager
def study_lock(directory: Path) -> Iterator[None]:
    """Hold the study in `directory`; raises `AlreadyRunning` where another process does. Ends with the process."""
    directory.mkdir(parents=True, exist_ok=True)
    with (directory / ".lock").open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            lock.seek(0)
            raise AlreadyRunning(
                f"process {lock.read().strip() or 'unknown'} is running the study in {directory}; wait for it or stop "
                "it, or give this one another FLOPS_FIT_HOME"
            ) from error
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        yield
