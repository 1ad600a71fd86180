"""Imported by the process that runs are forked from, as the last of what it loads, and by no other."""

from __future__ import annotations

import gc
import os

from numpy import random

_SERVER = os.getpid()


def _seed() -> None:
    """As in a process of its own (Python's own generator does so by itself); what a run forks is its own business."""
    if os.getppid() == _SERVER:
        random.seed()  # noqa: NPY002


os.register_at_fork(after_in_child=_seed)
gc.freeze()  # so that no collection touches, and thereby copies, what the forks share
