"""Failure as data: which status an exception becomes, and why in words."""

from __future__ import annotations

import errno
import traceback

import torch

from flops_fit.errors import Diverged, FailedOnRank, OutOfData, TimedOut

_BY_KIND: dict[type[Exception], str] = {Diverged: "diverged", OutOfData: "out_of_data", TimedOut: "timed_out"}


def describe_failure(error: Exception) -> tuple[str, str]:
    """`(status, reason)` of an exception that ended a training; an unforeseen one is "failed", with its traceback."""
    if isinstance(error, FailedOnRank):
        return error.status, error.reason
    for kind, status in _BY_KIND.items():
        if isinstance(error, kind):
            return status, str(error)
    if is_out_of_memory(error):
        return "out_of_memory", f"{_first_line(error)}; use a smaller model or a larger device"
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return "disk_full", f"{error}; free some space and run again"
    return "failed", f"{type(error).__name__}: {error}\n{traceback.format_exc(limit=-3)}"


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory of the device or the machine ran out."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and "can't allocate memory" in str(error)


def _first_line(error: Exception) -> str:
    return str(error).split("\n", 1)[0] or type(error).__name__
