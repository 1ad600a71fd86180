"""Running the user's constructor without letting it change, block or bring down this process."""

from __future__ import annotations

import atexit
import contextlib
import os
import pickle
import re
import select
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, NoReturn

import torch
from torch.overrides import TorchFunctionMode

from flops_fit.basics.random_state import isolated_random_state
from flops_fit.processes import alive
from flops_fit.processes.process_state import process_state_kept

MEMORY_CAP = 4 << 30
SECONDS_CAP = 30.0
_TICK = 0.2
ENDED, TOO_LONG = "ProcessKilled", "TimeoutError"  # kinds of `Failure` that are no exception of the job's own


_REFUSALS = (ValueError, AssertionError, TypeError, ZeroDivisionError, KeyError, IndexError, SystemExit)


class UsesGpu(Exception):
    """A constructor asked for an accelerator."""


@contextmanager
def contained() -> Iterator[None]:
    """Inside: no output, no warnings, no waiting, no gradients; afterwards all global state is as it was.

    Covers random numbers and all of `process_state_kept`.
    """
    with process_state_kept(), _silence(), _no_waiting(), isolated_random_state(), torch.no_grad():
        yield


class _StandIn:
    """What stands for a stream of `sys` while nothing is to be shown.

    Code that keeps it, as a log handler made on import does, writes from then on to whatever has that name: it is never
    closed.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._nowhere = open(os.devnull, "w")  # noqa: SIM115 (for as long as this process)
        atexit.register(self._nowhere.close)

    def _stream(self) -> Any:
        now = getattr(sys, self._name)
        return self._nowhere if now is None or now is self else now

    def write(self, text: str) -> int:
        return self._stream().write(text)

    def flush(self) -> None:
        self._stream().flush()

    def close(self) -> None:
        """Not even if it is told to."""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream(), name)


@cache
def _stand_in(name: str) -> Any:
    return _StandIn(name)


@contextmanager
def _silence() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with contextlib.redirect_stdout(_stand_in("stdout")), contextlib.redirect_stderr(_stand_in("stderr")):
            yield


@contextmanager
def _no_waiting() -> Iterator[None]:
    """`time.sleep` returns at once in this thread: waiting changes no parameter count."""
    sleep, here = time.sleep, threading.get_ident()
    time.sleep = lambda seconds: None if threading.get_ident() == here else sleep(seconds)
    try:
        yield
    finally:
        time.sleep = sleep


class NoGpu(TorchFunctionMode):
    """Raises `UsesGpu` where a tensor would be made on, or moved to, an accelerator; counts the calls it sees."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.calls += 1
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "")
        if name in ("cuda", "xpu", "ipu", "hpu"):
            raise UsesGpu(f".{name}()")
        places = [kwargs.get("device"), *(args[1:] if name == "to" else ())]
        for place in places:
            if _is_accelerator(place):
                raise UsesGpu(f"device={str(place)!r}")
        return func(*args, **kwargs)


def _is_accelerator(place: Any) -> bool:
    kind = place.type if isinstance(place, torch.device) else place.split(":")[0] if isinstance(place, str) else "cpu"
    return kind in ("cuda", "mps", "xpu", "hpu") or type(place) is int


@dataclass(frozen=True, kw_only=True)
class Failure:
    """How a build failed: the exception's type and text, or what ended the process.

    `is_invalid` where that says that the model refuses this size by its own rules; `of_meta` where it is about tensors
    without data; `refuses` where the exception, or one that it was raised from, is of a kind that refuses an argument.
    """

    kind: str
    message: str
    is_invalid: bool = False
    of_meta: bool = False
    refuses: bool = False

    @property
    def reason(self) -> str:
        """For the reader: the type and the text."""
        return ": ".join(filter(None, (self.kind, self.message)))

    @property
    def ran_out(self) -> bool:
        """Whether it was memory, time or operations that ended it, of which a smaller size needs less."""
        return self.kind in (ENDED, TOO_LONG, "MemoryError", "TooLong") or "allocate" in self.message


def failure_of(error: BaseException) -> Failure:
    """What an exception says, and whether it, or one that it came from, is about tensors without data."""
    cause: BaseException | None = error
    of_meta = type(error).__name__ == "TooLong"
    while cause is not None and not of_meta:
        of_meta = re.search(r"\bmeta\b", str(cause), re.IGNORECASE) is not None
        cause = cause.__cause__ or cause.__context__
    return Failure(kind=type(error).__name__, message=str(error), of_meta=of_meta, refuses=_refuses(error))


def _refuses(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, _REFUSALS):
            return True
        error = error.__cause__
    return False


def run_in_subprocess(job: Callable[[], Any]) -> Any | Failure:
    """The value of `job()` run in a forked process, or its `Failure`, within `MEMORY_CAP` bytes and `SECONDS_CAP`.

    The seconds are those of its processor, so that the outcome does not depend on what else the machine does; as many
    of waiting without any work end it too. The process sees no GPU, uses one thread, and may be killed; nothing it does
    reaches this one but the value, which must be picklable.
    """
    if not hasattr(os, "fork"):
        return Failure(kind="Unsupported", message="this system cannot fork processes")
    reader, writer = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # forking beside threads: the time limit bounds the risk
        child = os.fork()
    if child == 0:
        _run_and_exit(job, writer)
    os.close(writer)
    finished = False
    try:
        content, finished = _read_from(reader, child)
    finally:
        if not finished:  # its time is over, or a signal has ended the wait for it
            os.kill(child, signal.SIGKILL)
        os.close(reader)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if not finished:
        return Failure(kind=TOO_LONG, message=f"took more than {SECONDS_CAP:g} s")
    if not content:
        return Failure(kind=ENDED, message=f"the process ended with code {code} without a result")
    return pickle.loads(content)


def _read_from(reader: int, child: int) -> tuple[bytes, bool]:
    """Everything the child wrote before it closed its end, and whether it did so within its time."""
    content, used, idle_since = b"", 0.0, time.monotonic()
    while True:
        if select.select([reader], [], [], _TICK)[0]:
            part = os.read(reader, 1 << 16)
            if not part:
                return content, True
            content += part
            continue
        now = _processor_seconds(child)
        if now > used:
            used, idle_since = now, time.monotonic()
        if used > SECONDS_CAP or time.monotonic() - idle_since > SECONDS_CAP:
            return content, False


def _processor_seconds(process: int) -> float:
    """Processor time that a process has used; 0 where the system does not say (no Linux)."""
    try:
        after_name = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(after_name[11]) + int(after_name[12])) / os.sysconf("SC_CLK_TCK")


def _run_and_exit(job: Callable[[], Any], writer: int) -> NoReturn:
    """What the forked process does; it never returns into the caller's stack."""
    alive.tell(None)  # the one that waits for it is alive
    _end_without_parent()
    try:
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
        torch.set_num_threads(1)
        _limit_memory(MEMORY_CAP)
        value = job()
    except BaseException as error:  # SystemExit and MemoryError too: the parent wants to hear of it
        value = failure_of(error)
    try:
        with open(writer, "wb") as file:
            file.write(pickle.dumps(value))
    finally:
        os._exit(0)


def _end_without_parent() -> None:
    """Should the one that waits be killed, nobody else ends an endless loop, or a wait."""
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.alarm(int(20 * SECONDS_CAP))
    try:
        import resource
    except ImportError:  # where a system has none, the alarm has to do
        return
    seconds = int(2 * SECONDS_CAP) + 1
    used = int(time.process_time())
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    if hard == resource.RLIM_INFINITY or used + seconds < hard:
        resource.setrlimit(resource.RLIMIT_CPU, (used + seconds, hard))


def _limit_memory(memory_bytes: int) -> None:
    """Cap this process's address space at what it has now and `memory_bytes` more (where the system tells)."""
    import resource

    status = Path("/proc/self/statm")
    if not status.exists():
        return
    now = int(status.read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    resource.setrlimit(resource.RLIMIT_AS, (now + memory_bytes, now + memory_bytes))


class _NoFills(TorchFunctionMode):
    """Random and constant fills in place leave the tensor as allocated."""

    _NAMES = frozenset({"normal_", "uniform_", "trunc_normal_", "exponential_", "random_", "fill_", "zero_"})

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if args and getattr(func, "__name__", "") in self._NAMES:
            return args[0]
        return func(*args, **(kwargs or {}))


@contextmanager
def without_initialisers() -> Iterator[None]:
    """Initialisers and fills leave tensors as allocated, so that the memory of a large model is never touched."""
    names = [name for name in vars(torch.nn.init) if name.endswith("_") and not name.startswith("_")]
    saved = {name: getattr(torch.nn.init, name) for name in names}
    for name in names:
        setattr(torch.nn.init, name, _leave_as_is)
    try:
        with _NoFills():
            yield
    finally:
        for name, function in saved.items():
            setattr(torch.nn.init, name, function)


def _leave_as_is(tensor: torch.Tensor, *_: Any, **__: Any) -> torch.Tensor:
    return tensor
