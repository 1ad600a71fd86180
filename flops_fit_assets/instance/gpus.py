"""A GPU for each training on this machine where Dagster launches them, each in a process of its own.

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
def gpu_of_its_own(directory: Path, device: str, processes: int = 1) -> Iterator[int | None]:
    """Hold one of several GPUs, or of the places on them, where so many `processes` share each with its part of the
    memory; the GPU is then this process's "cuda". Waits while all are held. None without several GPUs.

    Args:
        directory: where the locks are, one for each place; shared by whoever shares the GPUs.
        device: of `Hardware`: "auto", "cuda", or one that needs no choice.
    """
    import torch

    from flops_fit.basics.devices import cap_memory

    count = torch.cuda.device_count() if device in ("auto", "cuda") and torch.cuda.is_available() else 0
    if count < 2:
        if count:
            cap_memory(processes)
        yield None
        return
    directory.mkdir(parents=True, exist_ok=True)
    places = [
        f".gpu-{index}{f'-{place}' if place else ''}.lock" for place in range(processes) for index in range(count)
    ]
    at, lock = _take([FileLock(directory / name) for name in places])
    index = at % count
    try:
        torch.cuda.set_device(index)
        cap_memory(processes)
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
