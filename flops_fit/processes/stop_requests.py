"""Requests to stop: a training answers SIGTERM or Ctrl-C by a checkpoint, instead of ending where it is.

A pool that ends asks its workers by a signal of its own (`ASK`), which ends one that does not train at once.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

ASK = getattr(signal, "SIGUSR1", signal.SIGTERM)
_SIGNALS = tuple(dict.fromkeys((signal.SIGTERM, signal.SIGINT, ASK)))
_is_worker = False


class StopRequest:
    """Whether this process was asked to stop, and by which signal first; `also` is called when it is."""

    def __init__(self) -> None:
        self.number: int | None = None
        self.also: Callable[[], None] | None = None

    @property
    def name(self) -> str:
        """The signal's, such as "SIGTERM"; that of a pool is "the process that waits for it"."""
        if self.number is None or self.number == ASK:
            return "the process that waits for it"
        return signal.Signals(self.number).name


@contextmanager
def stop_requests(request: StopRequest) -> Iterator[None]:
    """While the block runs, the first signal that asks to stop is noted in `request`; the second does what it did
    before.

    Signals that are ignored stay so. Elsewhere than in the main thread, which alone hears of signals, nothing is noted.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in _SIGNALS}
    before = {number: was for number, was in before.items() if was not in (signal.SIG_IGN, None)}

    def note(number: int, frame: FrameType | None) -> None:
        if request.number is not None:
            _put_back(before)
            os.kill(os.getpid(), number)
            return
        request.number = number
        if request.also is not None:
            request.also()

    for number in before:
        signal.signal(number, note)
    try:
        yield
    finally:
        _put_back(before)


def _put_back(before: dict[int, Any]) -> None:
    for number, handler in before.items():
        signal.signal(number, handler)


def end_as_asked(request: StopRequest) -> None:
    """Once what was under way is saved: do what the signal would have done. A worker ends as if it had been killed."""
    if request.number is not None:
        os.kill(os.getpid(), ASK if _is_worker else request.number)


def end_when_asked() -> None:
    """From now on this process is a worker, which ends at once when it is asked to, unless it trains."""
    global _is_worker
    _is_worker = True
    signal.signal(ASK, _end)


def _end(number: int, frame: FrameType | None) -> None:
    os._exit(128 + signal.SIGTERM)
