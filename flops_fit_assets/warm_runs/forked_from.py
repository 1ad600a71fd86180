"""The side of the process that launches: it starts `server`, and asks it for forks."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import queue
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from multiprocessing import connection
from typing import Any

_GONE = {"kind": "gone"}
OnEnd = Callable[[str, int], None]


class CannotFork(Exception):
    """A code location whose runs cannot be forks; the message says why."""


class Base:
    """The process that others are forked from, started at once and for as long as this process lives."""

    def __init__(self) -> None:
        self._owner = os.getpid()
        self._socket, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with other:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "flops_fit_assets.warm_runs.server", str(other.fileno())],
                stdin=subprocess.DEVNULL,
                pass_fds=[other.fileno()],
            )

    @property
    def lives(self) -> bool:
        """Whether it can be asked."""
        return self._owner == os.getpid() and self._process.poll() is None

    def location(self, origin: str, idle_seconds: float, on_end: OnEnd) -> ForkedLocation:
        """A process with the code location of `origin`, loading it."""
        ours, theirs = connection.Pipe()
        request = {"origin": origin, "idle": idle_seconds}
        with theirs, contextlib.suppress(OSError):  # it has ended just now: the location is "gone" at once
            socket.send_fds(self._socket, [json.dumps(request).encode()], [theirs.fileno()])
        return ForkedLocation(ours, on_end)

    def leave(self) -> None:
        """Ask it for nothing more: it ends when what it has forked has."""
        self._socket.close()


_lock = threading.Lock()
_base: Base | None = None


def base() -> Base:
    """That of this process, started if it does not run."""
    global _base
    with _lock:
        if _base is None or not _base.lives:
            _base = Base()
        return _base


def leave_base() -> None:
    """The next call of `base` starts another."""
    global _base
    with _lock:
        if _base is not None:
            _base.leave()
        _base = None


class ForkedLocation:
    """A process that has loaded one code location as its sources are, and forks runs of it."""

    def __init__(self, pipe: connection.Connection, on_end: OnEnd) -> None:
        self._pipe, self._on_end = pipe, on_end
        self._answers = queue.SimpleQueue[dict[str, Any]]()
        self._one_at_a_time = threading.Lock()
        self.gone = False
        threading.Thread(target=self._listen, daemon=True, name="ends of forked runs").start()

    def run(self, run_id: str, arguments: str, timeout: float) -> str:
        """Ask for a fork that runs `arguments`: "began", or "stale", "all stale" or "gone" where another must be asked.

        Raises `CannotFork` where no other could either.
        """
        with self._one_at_a_time:
            if self.gone:
                return "gone"
            try:
                self._pipe.send_bytes(json.dumps({"run": run_id, "arguments": arguments}).encode())
                answer = self._answers.get(timeout=timeout)
            except (BrokenPipeError, ConnectionResetError, OSError):
                answer = _GONE
            except queue.Empty as error:
                self.leave()
                raise CannotFork(f"it was not loaded within {timeout:g} s") from error
        if answer["kind"] == "cannot":
            raise CannotFork(answer["why"])
        return "all stale" if answer.get("all") else answer["kind"]

    def leave(self) -> None:
        """Ask it for nothing more: it ends when its runs have, and how they do is still heard."""
        self.gone = True
        with contextlib.suppress(OSError), socket.socket(fileno=os.dup(self._pipe.fileno())) as end:
            end.shutdown(socket.SHUT_WR)

    def _listen(self) -> None:
        while True:
            try:
                message = json.loads(self._pipe.recv_bytes())
            except (EOFError, OSError):
                break
            if message["kind"] != "ended":
                self._answers.put(message)
                continue
            try:
                self._on_end(message["run"], message["code"])
            except Exception:  # of the history; run monitoring finds the process gone
                logging.getLogger("dagster").exception("the end of run %s could not be noted", message["run"])
        self.gone = True
        self._answers.put(_GONE)
        self._pipe.close()
