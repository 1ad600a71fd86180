"""One GPU for each training on this machine where Dagster launches them, each in a process of its own.

The workers of `flops-fit run` see one GPU each and are not concerned.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

_POLL_SECONDS = 1.0


@contextmanager
def gpu_of_its_own(directory: Path, device: str) -> Iterator[int | None]:
    """Hold one of several GPUs, which is then this process's "cuda"; waits while all are held. None without several.

    Args:
        directory: where the locks are, one for each GPU; shared by whoever shares the GPUs.
        device: of `Hardware`: "auto", "cuda", or one that needs no choice.
    """
    import torch

    count = torch.cuda.device_count() if device in ("auto", "cuda") and torch.cuda.is_available() else 0
    if count < 2:
        yield None
        return
    directory.mkdir(parents=True, exist_ok=True)
    index, lock = _take([FileLock(directory / f".gpu-{index}.lock") for index in range(count)])
    try:
        torch.cuda.set_device(index)
        yield index
    finally:
        lock.release()


def _take(locks: list[FileLock]) -> tuple[int, FileLock]:
    """Which is free, and it, held; a process that ends gives its own back."""
    while True:
        for index, lock in enumerate(locks):
            try:
                lock.acquire(timeout=0)
            except Timeout:
                continue
            return index, lock
        time.sleep(_POLL_SECONDS)
