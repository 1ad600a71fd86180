"""Signs of life: a process under supervision tells what it is at, so that one that hangs or dies can be named.

Whoever supervises (a pool its workers, `flops-fit` its own command) ends a process in which the user's code has been
silent for `patience()` seconds. Nothing is told where nobody listens.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from flops_fit.errors import StudyError

PATIENCE_VARIABLE = "FLOPS_FIT_PATIENCE_SECONDS"
BEGIN, END, BEAT = "begin", "end", "beat"
_DEFAULT_PATIENCE = 900.0
_EVERY_SECONDS = 1.0

Listener = Callable[[str, str], None]
_listener: Listener | None = None
_owner = _last = 0.0


def patience() -> float:
    """Seconds of silence after which a process counts as hanging: 900, or what `FLOPS_FIT_PATIENCE_SECONDS` says.

    Raises `StudyError` where that is no number above 0.
    """
    given = os.environ.get(PATIENCE_VARIABLE, "")
    try:
        seconds = float(given) if given else _DEFAULT_PATIENCE
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < 1e9:
        raise StudyError(
            f"{PATIENCE_VARIABLE} = {given!r} must be seconds, above 0 and below 1e9; set it so, or unset it"
        )
    return seconds


def silent_too_long(seconds: float, place: str = "") -> str:
    """What is said of a process that was ended since it hung, where that is known at `place`."""
    return (
        f"gave no sign of life for {seconds:g} s and was ended{place}: an endless loop, or something very slow; if it "
        f"takes that long, set {PATIENCE_VARIABLE}={4 * seconds:g}"
    )


def tell(listener: Listener | None) -> None:
    """From now on `listener` hears what this process is at."""
    global _listener, _owner, _last
    _listener, _owner, _last = listener, os.getpid(), time.monotonic()


def silent_for() -> float:
    """Seconds since this process last gave a sign of life, or began to give any."""
    return time.monotonic() - _last


@contextmanager
def users_code(what: str) -> Iterator[None]:
    """The body runs code of the user's: `what` is said where it never comes back, such as "probing its sizes"."""
    if _listener is None:
        yield
        return
    _listener(BEGIN, what)
    try:
        yield
    finally:
        _listener(END, what)


def still_alive() -> None:
    """One of many things is done, such as a step; told once a second at most.

    A copy of a supervised process that the user's code forked, and that came back from there, ends here.
    """
    global _last
    if _listener is None:
        return
    if os.getpid() != _owner:
        os._exit(1)
    if (now := time.monotonic()) - _last >= _EVERY_SECONDS:
        _last = now
        _listener(BEAT, "")
