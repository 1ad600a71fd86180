"""Devices that trainings take and give back: each a lock that ends with its process, however that comes."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from flops_fit.processes.alive import still_alive
from flops_fit.processes.waited_locks import wait_for

_POLL_SECONDS = 0.2


@contextmanager
def devices_held(
    directory: Path, kind: str, total: int, count: int = 1, own: int | None = None
) -> Iterator[tuple[int, ...]]:
    """Hold `count` of `total` devices, whose numbers it gives; waits while they are taken.

    Who waits for several is not passed by those who come later, however few they need.

    Args:
        directory: where the locks are; shared by whoever shares the devices.
        kind: of device: part of the locks' names.
        own: the number of one that must be among them.

    Raises `ValueError` for more than there are.
    """
    if count > total:
        raise ValueError(f"{count} devices of {total} cannot be held")
    directory.mkdir(parents=True, exist_ok=True)
    locks = [FileLock(directory / f".{kind}-{index}.lock") for index in range(total)]
    door = FileLock(directory / f".{kind}-next.lock")
    held: list[int] = []
    try:
        wait_for(door)
        try:
            if own is not None:
                wait_for(locks[own])
                held.append(own)
            _gather(locks, held, count)
        finally:
            door.release()
        yield tuple(held)
    finally:
        for index in held:
            locks[index].release()


def _gather(locks: list[FileLock], held: list[int], count: int) -> None:
    """Add to those `held` whichever are free until they are so many."""
    while True:
        for index, lock in enumerate(locks):
            if len(held) == count:
                return
            if index not in held and _is_taken(lock):
                held.append(index)
        if len(held) == count:
            return
        still_alive()
        time.sleep(_POLL_SECONDS)


def _is_taken(lock: FileLock) -> bool:
    """Whether the lock could be taken at once, which it then is."""
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return False
    return True
