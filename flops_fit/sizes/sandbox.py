"""Running the user's constructor without letting it change, block or bring down this process."""

from __future__ import annotations

import contextlib
import os
import pickle
import select
import signal
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import torch
from torch.overrides import TorchFunctionMode

from flops_fit.basics.random_state import isolated_random_state
from flops_fit.processes import alive
from flops_fit.processes.process_state import process_state_kept

MEMORY_CAP = 4 << 30
SECONDS_CAP = 30.0
ENDED, TOO_LONG = "ProcessKilled", "TimeoutError"  # kinds of `Failure` that are no exception of the job's own


class UsesGpu(Exception):
    """A constructor asked for an accelerator."""


@contextmanager
def contained() -> Iterator[None]:
    """Inside: no output, no warnings, no waiting, no gradients; afterwards all global state is as it was.

    Covers random numbers and all of `process_state_kept`.
    """
    with process_state_kept(), _silence(), _no_waiting(), isolated_random_state(), torch.no_grad():
        yield


@contextmanager
def _silence() -> Iterator[None]:
    with open(os.devnull, "w") as nowhere, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with contextlib.redirect_stdout(nowhere), contextlib.redirect_stderr(nowhere):
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

    `is_invalid` where that says that the model refuses this size by its own rules.
    """

    kind: str
    message: str
    is_invalid: bool = False

    @property
    def reason(self) -> str:
        """For the reader: the type and the text."""
        return ": ".join(filter(None, (self.kind, self.message)))


def run_in_subprocess(job: Callable[[], Any]) -> Any | Failure:
    """The value of `job()` run in a forked process, or its `Failure`, within `MEMORY_CAP` bytes and `SECONDS_CAP`.

    The process sees no GPU, uses one thread, and may be killed; nothing it does reaches this one but the value, which
    must be picklable.
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
    try:
        content, finished = _read_until(reader, time.monotonic() + SECONDS_CAP)
        if not finished:
            os.kill(child, signal.SIGKILL)
    finally:
        os.close(reader)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if not finished:
        return Failure(kind=TOO_LONG, message=f"took more than {SECONDS_CAP:g} s")
    if not content:
        return Failure(kind=ENDED, message=f"the process ended with code {code} without a result")
    return pickle.loads(content)


def _read_until(reader: int, deadline: float) -> tuple[bytes, bool]:
    """Everything written before the other end closed, and whether it closed before the deadline."""
    content = b""
    while select.select([reader], [], [], max(0.0, deadline - time.monotonic()))[0]:
        part = os.read(reader, 1 << 16)
        if not part:
            return content, True
        content += part
    return content, False


def _run_and_exit(job: Callable[[], Any], writer: int) -> NoReturn:
    """What the forked process does; it never returns into the caller's stack."""
    alive.tell(None)  # the one that waits for it is alive
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.alarm(int(2 * SECONDS_CAP))  # should that one be killed, nobody else ends an endless loop
    try:
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
        torch.set_num_threads(1)
        _limit_memory(MEMORY_CAP)
        value = job()
    except BaseException as error:  # SystemExit and MemoryError too: the parent wants to hear of it
        value = Failure(kind=type(error).__name__, message=str(error))
    try:
        with open(writer, "wb") as file:
            file.write(pickle.dumps(value))
    finally:
        os._exit(0)


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
