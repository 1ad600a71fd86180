"""Locks of files that are waited for, however long: who waits for another process is alive."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from flops_fit.processes.alive import still_alive


def wait_for(lock: FileLock) -> None:
    """Take the lock, once whoever holds it has given it back or is gone."""
    while True:
        try:
            lock.acquire(timeout=1.0)
        except Timeout:
            still_alive()
        else:
            return


@contextmanager
def held(path: Path) -> Iterator[None]:
    """Hold the lock in that file, waiting for it, while the block runs."""
    lock = FileLock(path)
    wait_for(lock)
    try:
        yield
    finally:
        lock.release()
