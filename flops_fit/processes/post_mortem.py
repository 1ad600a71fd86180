"""How a process ended that cannot say so itself, and where in the user's code it was."""

from __future__ import annotations

import faulthandler
import os
import re
import signal
import subprocess
import tempfile
import threading
from pathlib import Path
from typing import IO, Any

from flops_fit.identity.origin import is_users_file
from flops_fit.processes.forks import Forked

_FRAME = re.compile(r'File "(.+)", line (\d+) in')
_TO_DUMP_SECONDS = 5.0
_CRASHES = ("SIGSEGV", "SIGBUS", "SIGFPE", "SIGILL", "SIGABRT")
CAN_DUMP = hasattr(signal, "SIGABRT") and os.name == "posix"


def dump_file() -> IO[bytes] | None:
    """An unnamed file for the stack of a process that crashes, handed on with `pass_fds`; None where that cannot be."""
    if not CAN_DUMP:
        return None
    if hasattr(os, "memfd_create"):  # in memory: the disk may be full
        return os.fdopen(os.memfd_create("stack"), "w+b")
    return tempfile.TemporaryFile()


def dump_into(descriptor: int) -> Any:
    """In the process itself: should it crash, or be sent SIGABRT, its stack goes there; keep what is returned."""
    file = os.fdopen(descriptor, "wb", buffering=0)
    faulthandler.enable(file=file)
    return file


def end_with_dump(process: subprocess.Popen[bytes] | Forked) -> None:
    """End a process that hangs, so that it leaves its stack where it can; somebody else waits for it."""
    if CAN_DUMP:
        process.send_signal(signal.SIGABRT)
    last = threading.Timer(_TO_DUMP_SECONDS if CAN_DUMP else 0.0, process.kill)
    last.daemon = True
    last.start()


def where(dump: IO[bytes] | None) -> str:
    """`" in model.py, line 12"`: the innermost line of the user's code in a dump; "" where there is none."""
    if dump is None:
        return ""
    dump.seek(0)
    text = dump.read(1 << 20).decode(errors="replace")
    frames = _FRAME.findall(text.partition("Current thread")[2] or text)
    return next((f" in {Path(path).name}, line {line}" for path, line in frames if is_users_file(path)), "")


def how_it_ended(code: int) -> str:
    """`"crashed (SIGSEGV)"`, `"was killed (SIGKILL, probably for lack of memory)"`, `"exited with code 3"`."""
    if code >= 0:
        return f"exited with code {code}"
    name = signal.Signals(-code).name if -code in set(signal.Signals) else str(-code)
    if name in _CRASHES:
        return f"crashed (signal {-code}, {name})"
    hint = ", probably for lack of memory" if name == "SIGKILL" else ""
    return f"was killed (signal {-code}, {name}{hint})"
