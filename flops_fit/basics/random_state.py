"""Random state: one seed for everything a training draws, and the caller's own state left alone."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


@contextmanager
def isolated_random_state() -> Iterator[None]:
    """Whatever is drawn or seeded inside, Python's, NumPy's and torch's global generators are as before afterwards."""
    python_state, numpy_state = random.getstate(), np.random.get_state()  # noqa: NPY002 (users' code draws from it)
    devices = list(range(torch.cuda.device_count())) if torch.cuda.is_initialized() else []
    try:
        with torch.random.fork_rng(devices=devices):
            yield
    finally:
        random.setstate(python_state)
        np.random.set_state(numpy_state)  # noqa: NPY002


def seed_everything(*seeds: int) -> None:
    """Seed Python's, NumPy's and torch's global generators from `seeds`."""
    digest = hashlib.sha256(repr(seeds).encode()).digest()
    seed = int.from_bytes(digest[:4], "little")
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002
    torch.manual_seed(seed)
