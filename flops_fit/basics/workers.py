"""Independent tasks side by side: long-lived worker processes, one thread each, torch loaded once for all of them.

Own processes instead of `multiprocessing`, which would run the caller's `__main__` again in every worker: a notebook
or a script without `if __name__ == "__main__"` works here. Tasks and results travel as pickles over a pipe, never to
disk. `cloudpickle` sends what no worker could import, such as a class defined in a notebook or in a function, by value.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import pickle
import queue
import signal
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import IO, Any

import cloudpickle

from flops_fit.basics import forks
from flops_fit.errors import FlopsFitError

_SET_HERE = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "PYTHONPATH", "CUDA_VISIBLE_DEVICES")
_OUTER = "FLOPS_FIT_OUTER_ENVIRONMENT"  # what these were before, for programs that are not ours

OnEvent = Callable[[int, dict[str, Any]], None]
_Process = subprocess.Popen[bytes] | forks.Forked


@dataclass(frozen=True, kw_only=True)
class TaskOutcome:
    """What became of the task at `index`: its value, or the error as text."""

    index: int
    value: Any = None
    error: str | None = None


class CannotBeSent(Exception):
    """Worker processes cannot get the shared object: it holds an open file, a lock, or what they cannot import."""


def run_tasks(
    function: str,
    payloads: Sequence[Any],
    *,
    num_workers: int,
    shared: Any = None,
    on_event: OnEvent | None = None,
    environments: Sequence[Mapping[str, str]] = (),
) -> Iterator[TaskOutcome]:
    """Run `function` (as `"package.module:name"`) on every payload in `num_workers` processes; yield as they finish.

    In the worker `function(payload, emit)` is called, or `function(payload, emit, shared)` where `shared` is given
    (sent once to each worker); `emit(dict)` reaches `on_event(index, dict)` here, in the consumer's thread. Payloads
    start in the order given. Workers take turns with `environments`: variables that they get besides this process's
    own, such as the one GPU that each is to see. An exception in a task, or the death of its worker, becomes that
    task's `error`; the others go on. Raises `CannotBeSent` where `shared` cannot be pickled, or not loaded in a worker.
    """
    count = min(num_workers, len(payloads))
    with WorkerPool(function, num_workers=count, shared=shared, environments=environments) as pool:
        yield from pool.run(payloads, on_event)


class WorkerPool:
    """Worker processes for one call of `run`, as of `run_tasks`; leaving the context kills what is under way.

    They start with their first task, or at once with `start`, so that they import while something else is done.
    """

    def __init__(
        self,
        function: str,
        *,
        num_workers: int,
        shared: Any = None,
        environments: Sequence[Mapping[str, str]] = (),
    ) -> None:
        turns = itertools.cycle(environments or ({},))
        self._workers = [_Worker(function, shared, next(turns)) for _ in range(num_workers)]
        self._threads: list[threading.Thread] = []

    def __enter__(self) -> WorkerPool:
        return self

    def start(self) -> None:
        """Start every process that is not running yet."""
        for worker in self._workers:
            worker.start()

    def run(self, payloads: Sequence[Any], on_event: OnEvent | None = None) -> Iterator[TaskOutcome]:
        """The outcome of the task with each payload, as they finish."""
        todo = iter(enumerate(payloads))
        lock, events = threading.Lock(), queue.SimpleQueue[tuple[str, int, Any]]()
        self._threads = [
            threading.Thread(target=_serve, args=(worker, todo, lock, events), daemon=True)
            for worker in self._workers[: len(payloads)]
        ]
        for thread in self._threads:
            thread.start()
        yield from _collect(events, len(payloads), on_event)

    def __exit__(self, *error: object) -> None:
        for worker in self._workers:
            worker.stop()
        for thread in self._threads:
            thread.join()
        for worker in self._workers:
            worker.close()


def _collect(
    events: queue.SimpleQueue[tuple[str, int, Any]], expected: int, on_event: OnEvent | None
) -> Iterator[TaskOutcome]:
    while expected:
        kind, index, content = events.get()
        if kind == "event":
            if on_event:
                on_event(index, content)
        elif kind == "not loaded":
            raise CannotBeSent(content)
        else:
            expected -= 1
            yield TaskOutcome(index=index, **{kind: content})


def _serve(
    worker: _Worker,
    todo: Iterator[tuple[int, Any]],
    lock: threading.Lock,
    events: queue.SimpleQueue[tuple[str, int, Any]],
) -> None:
    while not worker.stopped:
        with lock:
            task = next(todo, None)
        if task is None:
            return
        index, payload = task
        try:
            for kind, content in worker.run(payload):
                events.put((kind, index, content))
        except Exception as error:  # such as a process that cannot be started: the task's outcome, not a silent wait
            events.put(("error", index, f"{type(error).__name__}: {error}"))


class _Worker:
    """One process, started with its first task or before, and again after it died."""

    def __init__(self, function: str, shared: Any, environment: Mapping[str, str]) -> None:
        self._environment = environment
        self._module = function.split(":")[0]
        self._start = pickle.dumps({"function": function, "sys_path": sys.path})
        self._shared = _pickled(shared)
        self._process: _Process | None = None
        self.stopped = False

    def start(self) -> None:
        """Start the process, unless it is running."""
        if self._process is None:
            self._launch()

    def run(self, payload: Any) -> Iterator[tuple[str, Any]]:
        """Messages of one task: any number of "event", then "value", "error" or "not loaded"."""
        process = self._process or self._launch()
        if self.stopped:  # told to stop while it was starting
            process.kill()
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            send(process.stdin, cloudpickle.dumps(payload))
            while True:
                kind, content = pickle.loads(receive(process.stdout))
                yield kind, content
                if kind != "event":
                    return
        except (EOFError, BrokenPipeError):
            self._process = None
            code = _discard(process)
            if not self.stopped:
                yield "error", f"the worker process {_how_it_ended(code)}"

    def stop(self) -> None:
        """Kill the process, in the middle of a task if need be; a task under way ends without an outcome."""
        self.stopped = True
        if (process := self._process) is not None:
            process.kill()

    def close(self) -> None:
        """Release the process and its pipes, once nothing runs any more."""
        if self._process is not None:
            _discard(self._process)

    def _launch(self) -> _Process:
        environment = os.environ | {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"} | dict(self._environment)
        if _OUTER not in environment:
            environment[_OUTER] = json.dumps({name: os.environ.get(name) for name in _SET_HERE})
        command = [sys.executable, "-m", "flops_fit.basics.workers"]
        environment["PYTHONPATH"] = os.pathsep.join([entry for entry in sys.path if entry] + [os.getcwd()])
        process: _Process
        if forks.POSSIBLE:
            ours = self._module.startswith("flops_fit")  # the user's are imported by each process as they are then
            process = forks.fork(command, environment, self._module if ours else None)
        else:
            process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment)
        self._process = process
        assert process.stdin is not None
        send(process.stdin, self._start)
        send(process.stdin, self._shared)
        return process


def _pickled(shared: Any) -> bytes:
    try:
        return cloudpickle.dumps(shared)
    except Exception as error:  # whatever objects that cannot be pickled raise
        raise CannotBeSent(f"{type(error).__name__}: {error}") from error


def _discard(process: _Process) -> int:
    """Wait for a process that ended or was killed, close its pipes, and return its exit code."""
    code = process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            with contextlib.suppress(BrokenPipeError):  # bytes not yet sent to a process that is gone
                pipe.close()
    return code


def _how_it_ended(code: int) -> str:
    if code < 0:
        name = signal.Signals(-code).name
        hint = ", probably for lack of memory" if name == "SIGKILL" else ""
        return f"was killed (signal {-code}, {name}{hint})"
    return f"exited with code {code}"


def outer_environment() -> dict[str, str]:
    """The environment for a program that is not ours: as it was before a worker process changed it for itself."""
    environment = dict(os.environ)
    before = json.loads(environment.pop(_OUTER, "{}"))
    environment |= {name: value for name, value in before.items() if value is not None}
    return {name: value for name, value in environment.items() if before.get(name, "") is not None}


def send(pipe: IO[bytes], message: bytes) -> None:
    """Write one length-prefixed message."""
    pipe.write(struct.pack("<Q", len(message)) + message)
    pipe.flush()


def receive(pipe: IO[bytes]) -> bytes:
    """Read one length-prefixed message; raises `EOFError` where the pipe ends."""
    header = pipe.read(8)
    if len(header) < 8:
        raise EOFError
    (length,) = struct.unpack("<Q", header)
    body = pipe.read(length)
    if len(body) < length:
        raise EOFError
    return body


def main() -> None:
    """The worker process: tasks come in on standard input, messages go out on what was standard output."""
    incoming = os.fdopen(os.dup(0), "rb")
    outgoing = os.fdopen(os.dup(1), "wb")
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(2, 1)  # what the user's code prints goes to standard error
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle, which then stops us
    start = pickle.loads(receive(incoming))
    sys.path[:] = start["sys_path"]
    function, shared, problem = _load(start["function"], receive(incoming))
    try:
        while True:
            payload = pickle.loads(receive(incoming))
            if problem:
                send(outgoing, pickle.dumps(("not loaded", problem)))
                continue
            send(outgoing, pickle.dumps(_perform(function, payload, shared, outgoing)))
    except (EOFError, BrokenPipeError):  # the parent is done, or gone
        return


def _load(reference: str, pickled: bytes) -> tuple[Any, Any, str | None]:
    import importlib

    import torch

    torch.set_num_threads(1)
    module, name = reference.split(":")
    function = getattr(importlib.import_module(module), name)
    try:
        return function, pickle.loads(pickled), None
    except Exception as error:  # whatever importing the user's modules raises
        return function, None, f"{type(error).__name__}: {error}"


def _perform(function: Any, payload: Any, shared: Any, outgoing: IO[bytes]) -> tuple[str, Any]:
    import traceback

    def emit(event: dict[str, Any]) -> None:
        try:
            send(outgoing, pickle.dumps(("event", event)))
        except BrokenPipeError:  # the parent is gone: stop at once, as if killed with it, so that nothing is recorded
            os._exit(1)

    try:
        return "value", function(payload, emit) if shared is None else function(payload, emit, shared)
    except FlopsFitError as error:  # which says all by itself
        return "error", str(error)
    except Exception:
        return "error", traceback.format_exc(limit=-5)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        forks.serve(int(sys.argv[1]), main)
    else:
        main()
