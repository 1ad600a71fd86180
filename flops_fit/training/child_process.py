"""A shell command in a process group of its own that never outlives whoever started it."""

from __future__ import annotations

import contextlib
import math
import os
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from flops_fit.errors import TimedOut
from flops_fit.processes.alive import still_alive

GRACE_SECONDS = 10.0  # launchers such as torchrun end their own children when asked to, and cannot when killed
_BEGINNER = 'read -r word || exit; exec /bin/sh -c "$0" </dev/null'  # nothing, where who started it is gone by then
_WATCHER = 'read -r word && exit; kill -s TERM -- "-$0"; sleep "$1"; kill -s KILL -- "-$0"'


def run_command(
    command: str, *, directory: Path, log: Path, environment: Mapping[str, str], timeout_seconds: float | None
) -> int:
    """Run `command` in `directory`, its output in `log`, and return its exit code (negative: the signal that ended it).

    However this ends, by the timeout (`TimedOut`), an interruption or the death of this very process, the whole group
    is asked to end and killed some seconds later.
    """
    with log.open("wb") as output:
        process = subprocess.Popen(
            ["/bin/sh", "-c", _BEGINNER, command],
            cwd=directory,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        with _watched(process):
            _begin(process)
            return _wait(process, timeout_seconds)
    finally:
        if process.returncode is None:  # the watcher could not be started
            _end(process)


def _begin(process: subprocess.Popen[bytes]) -> None:
    """Let it go on to the command, now that it is watched."""
    assert process.stdin is not None
    with contextlib.suppress(BrokenPipeError), process.stdin:  # killed already, which its exit code tells
        process.stdin.write(b"begin\n")


def _wait(process: subprocess.Popen[bytes], timeout_seconds: float | None) -> int:
    """The exit code; who waits for another program is alive."""
    end = math.inf if timeout_seconds is None else time.monotonic() + timeout_seconds
    while (left := end - time.monotonic()) > 0:
        try:
            return process.wait(min(left, 1.0))
        except subprocess.TimeoutExpired:
            still_alive()
    raise TimedOut(f"the command ran longer than timeout_seconds = {timeout_seconds:g} and was ended")


@contextlib.contextmanager
def _watched(process: subprocess.Popen[bytes]) -> Iterator[None]:
    """End the group of `process` where this block ends before it does.

    Should this very process be killed, the pipe to a small shell ends, and that shell ends the group.
    """
    watcher = subprocess.Popen(
        ["/bin/sh", "-c", _WATCHER, str(process.pid), f"{GRACE_SECONDS:g}"],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        yield
    finally:
        if process.returncode is None:
            _end(process)
        with contextlib.suppress(BrokenPipeError):
            watcher.communicate(b"done\n")


def _end(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(GRACE_SECONDS)
    with contextlib.suppress(ProcessLookupError, PermissionError):  # what of the group has not ended by itself
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
