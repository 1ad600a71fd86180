"""Failure as data: which status an exception becomes, and why in words."""

from __future__ import annotations

import errno
import traceback
from pathlib import Path

import torch

from flops_fit.errors import Diverged, FailedOnRank, Interrupted, OutOfData, TimedOut

_BY_KIND: dict[type[Exception], str] = {
    Diverged: "diverged",
    OutOfData: "out_of_data",
    TimedOut: "timed_out",
    Interrupted: "interrupted",
}
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # the last: a limit on the size of files
_LINES_SHOWN = 3
_OWN_FOLDER, _TORCH_FOLDER = Path(__file__).parent.parent, Path(torch.__file__).parent


def describe_failure(error: BaseException) -> tuple[str, str]:
    """`(status, reason)` of an exception that ended a training; an unforeseen one is "failed", with its traceback."""
    if isinstance(error, FailedOnRank):
        return error.status, error.reason
    for kind, status in _BY_KIND.items():
        if isinstance(error, kind):
            return status, str(error)
    if is_out_of_memory(error):
        return "out_of_memory", f"{_first_line(error)}; use a smaller model or a larger device"
    if isinstance(error, OSError) and error.errno in _NO_ROOM:
        return "disk_full", f"{error}; free some space and run again"
    said = "; ".join([str(error), *getattr(error, "__notes__", ())])
    return "failed", f"{type(error).__name__}: {said}\n{_short_traceback(error)}"


def _short_traceback(error: BaseException) -> str:
    """The last lines of the user's own code, without the library's and torch's, then the line that raised."""
    frames = traceback.extract_tb(error.__traceback__)
    shown = [frame for frame in frames if not _is_library(Path(frame.filename))][-_LINES_SHOWN:]
    shown += [frame for frame in frames[-1:] if frame not in shown]
    return "".join(traceback.format_list(shown))


def _is_library(path: Path) -> bool:
    if _OWN_FOLDER / "examples" in path.parents:
        return False
    return _OWN_FOLDER in path.parents or _TORCH_FOLDER in path.parents


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory of the device or the machine ran out."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and "can't allocate memory" in str(error)


def _first_line(error: BaseException) -> str:
    return str(error).split("\n", 1)[0] or type(error).__name__
