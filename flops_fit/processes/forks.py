"""Processes that start at once: forks of one that has loaded torch, which takes a new process seconds.

`fork` is this process's side, `serve` that of the process it forks from: started with the first request, it answers
until this process ends. A fork stands beside two others: a parent of its own, which waits for it and says how it ended.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import importlib
import json
import os
import select
import signal
import socket
import struct
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn

_GPU_DRIVERS = ("/dev/nvidiactl", "/dev/dxg", "/dev/kfd")  # NVIDIA's, that of WSL, AMD's
# Elsewhere than on Linux a process with torch in it cannot be forked safely; where there is a GPU, a fork of a process
# that has so much as counted GPUs cannot use one, and nothing promises that importing torch never will.
POSSIBLE = sys.platform == "linux" and not any(map(os.path.exists, _GPU_DRIVERS))
# What every training needs: the first step of an optimizer imports the second.
_LOADED = ("torch", "torch._dynamo")
_NUMBER = struct.Struct("<q")


class Forked:
    """A forked process: what a pool of workers needs of `subprocess.Popen`."""

    def __init__(self, stdin: int, stdout: int, status: int) -> None:
        self.stdin, self.stdout = os.fdopen(stdin, "wb"), os.fdopen(stdout, "rb")
        self._status = os.fdopen(status, "rb", buffering=0)
        self._pid: int | None = None
        self._code: int | None = None

    def kill(self) -> None:
        """SIGKILL, unless it has ended; one that has not begun never will."""
        self.send_signal(signal.SIGKILL)

    def send_signal(self, number: int) -> None:
        """Send it this signal, unless it has ended; one that has not begun never will."""
        with contextlib.suppress(ProcessLookupError, ValueError):  # it ended meanwhile, and another thread has waited
            if self._pid is None and not self._has_news():
                self._code = -number
                self._status.close()
            elif self._code is None:
                self._pid = self._pid or self._next()
                if self._pid and not self._has_news():
                    os.kill(self._pid, number)

    def wait(self, timeout: float | None = None) -> int:
        """Its exit code once it has ended (negative: the signal that ended it); raises `subprocess.TimeoutExpired`."""
        if self._code is None:
            self._pid = self._pid or self._next()
            if timeout is not None and not self._has_news(timeout):
                raise subprocess.TimeoutExpired("a forked process", timeout)
            code = self._next()
            self._code = -signal.SIGKILL if code is None else code
            self._status.close()
        return self._code

    def _has_news(self, timeout: float = 0) -> bool:
        return bool(select.select([self._status], [], [], timeout)[0])

    def _next(self) -> int | None:
        message = self._status.read(_NUMBER.size)
        return _NUMBER.unpack(message)[0] if message else None


class _Server:
    """The process that others are forked from."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str]) -> None:
        self.owner = os.getpid()
        self._socket, other = socket.socketpair()
        with other:
            self._process = subprocess.Popen(
                [*command, str(other.fileno())],
                env=dict(environment),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=[other.fileno()],
            )

    @property
    def lives(self) -> bool:
        return self.owner == os.getpid() and self._process.poll() is None

    def fork(self, environment: Mapping[str, str], dump: int, load: str | None) -> Forked:
        """As the function `fork`."""
        request = {"environment": dict(environment), "directory": os.getcwd(), "load": load}
        body = json.dumps(request).encode()
        theirs_in, stdin = os.pipe()
        stdout, theirs_out = os.pipe()
        status, theirs_status = os.pipe()
        try:
            socket.send_fds(self._socket, [_NUMBER.pack(len(body))], [theirs_in, theirs_out, 2, dump, theirs_status])
            self._socket.sendall(body)
        finally:
            for end in (theirs_in, theirs_out, theirs_status):
                os.close(end)
        return Forked(stdin, stdout, status)

    def stop(self) -> None:
        if self.owner == os.getpid():
            self._process.kill()
            self._process.wait()
        self._socket.close()


_lock = threading.Lock()
_server: _Server | None = None


def fork(command: Sequence[str], environment: Mapping[str, str], dump: int, load: str | None = None) -> Forked:
    """A process in `environment` and this directory, forked from the one that `command` starts, if it does not run yet.

    `command` gets a number more, and must call `serve` with it. `dump` is a descriptor that the process gets too, and
    `load` a module to import before the fork.
    """
    global _server
    with _lock:
        if _server is None or not _server.lives:
            _stop()
            _server = _Server(command, environment)
        return _server.fork(environment, dump, load)


@atexit.register
def _stop() -> None:
    global _server
    if _server is not None:
        _server.stop()
    _server = None


def serve(number: int, job: Callable[[int], None]) -> None:
    """Fork a process that runs `job(dump)` for every request that comes through the socket `number` until it ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that asks, whose end is ours
    signal.signal(signal.SIGCHLD, _reap)
    for name in _LOADED:
        importlib.import_module(name)
    with socket.socket(fileno=number) as requests:
        while True:
            header, ends, _, _ = socket.recv_fds(requests, _NUMBER.size, 5)
            if not header:
                return
            request = json.loads(_read(requests, _NUMBER.unpack(header)[0]))
            if request["load"]:
                importlib.import_module(request["load"])
            gc.freeze()  # so that no collection touches, and thereby copies, what the forks share
            if not _is_closed(ends[-1]) and os.fork() == 0:
                requests.close()
                _wait_for_fork(ends, request, job)
            for end in ends:
                os.close(end)


def _reap(*_: Any) -> None:
    with contextlib.suppress(ChildProcessError):  # none is left
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def _read(source: socket.socket, length: int) -> bytes:
    content = b""
    while len(content) < length and (part := source.recv(length - len(content))):
        content += part
    return content


def _is_closed(pipe: int) -> bool:
    """Whether nobody reads the other end any more."""
    poll = select.poll()
    poll.register(pipe, 0)
    return bool(poll.poll(0))


def _wait_for_fork(ends: Sequence[int], request: Mapping[str, Any], job: Callable[[int], None]) -> NoReturn:
    """Fork the process itself, say its number, wait for it, and say how it ended."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    child = os.fork()
    if child == 0:
        _become(ends, request, job)
    *others, status_pipe = ends
    for end in others:
        os.close(end)
    with contextlib.suppress(BrokenPipeError):
        os.write(status_pipe, _NUMBER.pack(child))
    _, status = os.waitpid(child, 0)
    with contextlib.suppress(BrokenPipeError):
        os.write(status_pipe, _NUMBER.pack(os.waitstatus_to_exitcode(status)))
    os._exit(0)


def _become(ends: Sequence[int], request: Mapping[str, Any], job: Callable[[int], None]) -> NoReturn:
    """Take over pipes, environment and directory, then run `job`."""
    code = 1
    try:
        for number, end in enumerate(ends[:3]):
            os.dup2(end, number)
        dump = ends[3]
        for end in (*ends[:3], ends[-1]):
            os.close(end)
        os.environ.clear()
        os.environ.update(request["environment"])
        os.chdir(request["directory"])
        if "numpy" in sys.modules:  # as in a process of its own; `random` does so by itself
            sys.modules["numpy"].random.seed()
        job(dump)
        code = 0
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else int(error.code is not None)
    except BaseException:
        traceback.print_exc()
    sys.stderr.flush()
    os._exit(code)
