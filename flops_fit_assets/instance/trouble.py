"""Trouble of the machine rather than of a program, in a line that says what to do: the disk, rights, a database."""

from __future__ import annotations

import errno
import sqlite3
from collections.abc import Iterator

from flops_fit.errors import FlopsFitError
from flops_fit_assets.instance.where import HOME_VARIABLE, home_directory

_FREE_SOME = "free some space and run again; what is finished is kept"
_WRITABLE = f"make it writable, or give another directory with {HOME_VARIABLE}"
_MOVE = f"move what is there away, or give another directory with {HOME_VARIABLE}"
_BY_NUMBER = {
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT, errno.EFBIG), _FREE_SOME),
    **dict.fromkeys((errno.EACCES, errno.EPERM, errno.EROFS), _WRITABLE),
    **dict.fromkeys((errno.EEXIST, errno.ENOTDIR, errno.EISDIR), _MOVE),
    errno.EIO: "the disk is full or fails; see to it and run again; what is finished is kept",
}
_BY_WORDS = {  # of SQLite
    "full": _FREE_SOME,
    "disk I/O": "the disk is full or fails; " + _FREE_SOME,
    "readonly": _WRITABLE,
    "unable to open": _WRITABLE,
    "locked": "another process holds it; let that one end, or stop it, and run again",
}


class InstanceError(FlopsFitError):
    """Dagster's instance cannot be used; the message says why, and what to do."""


def readable(error: BaseException) -> str | None:
    """What `error`, or what caused it, says of the machine, and the remedy; None where it lies in a program."""
    for cause in _causes(error):
        if isinstance(cause, sqlite3.Error):
            return _of_database(str(cause))
        if isinstance(cause, OSError) and cause.errno is not None:
            where = f"{cause.filename}: " if cause.filename else ""
            return f"{where}{cause.strerror}; {_BY_NUMBER.get(cause.errno, 'see to it and run again')}"
    return None


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or getattr(error, "orig", None)  # SQLAlchemy keeps the driver's error there


def _of_database(said: str) -> str:
    folder = home_directory() / "dagster"
    anew = f"move {folder} away and run again: its history is lost, and nothing is trained again"
    remedy = next((remedy for words, remedy in _BY_WORDS.items() if words in said), anew)
    return f"Dagster's database in {folder} cannot be used ({said}); {remedy}"
