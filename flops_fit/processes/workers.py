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
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import IO, Any

import cloudpickle

from flops_fit.processes import forks
from flops_fit.processes.alive import patience, silent_too_long, still_alive
from flops_fit.processes.pipes import LONGEST, Garbled, receive, send
from flops_fit.processes.post_mortem import dump_file, end_with_dump, how_it_ended, where
from flops_fit.processes.stop_requests import ASK

_GRACE_SECONDS = 5.0
_SAVE_SECONDS = 20.0  # for a checkpoint of each training under way; Slurm leaves 30 to those that it ends
_SET_HERE = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "PYTHONPATH", "CUDA_VISIBLE_DEVICES")
_OUTER = "FLOPS_FIT_OUTER_ENVIRONMENT"  # what these were before, for programs that are not ours

OnEvent = Callable[[int, dict[str, Any]], None]
OnDeath = Callable[["TaskOutcome"], None]
_Process = subprocess.Popen[bytes] | forks.Forked


@dataclass(frozen=True, kw_only=True)
class TaskOutcome:
    """What became of the task at `index`: its value, or the error as text; `died` where its worker did."""

    index: int
    value: Any = None
    error: str | None = None
    died: bool = False


class CannotBeSent(Exception):
    """Worker processes cannot get the shared object: it holds an open file, a lock, or what they cannot import."""


class WorkerPool:
    """Worker processes for calls of `function` (as `"package.module:name"`); leaving the context ends what is left.

    A training that is under way then has 20 seconds to save how far it has come (`flops_fit.processes.stop_requests`);
    all else ends at once.

    In the worker `function(payload, emit)` is called, or `function(payload, emit, shared)` where `shared` is given
    (sent once to each worker); `emit(dict)` reaches `on_event(index, dict)` here, in the consumer's thread. Workers
    take turns with `environments`: variables that they get besides this process's own, such as the one GPU that each
    is to see. They start with their first task, or at once with `start`, so that they import while something else is
    done. Raises `CannotBeSent` where `shared` cannot be pickled, or (in `run`) not loaded in a worker.
    """

    def __init__(
        self,
        function: str,
        *,
        num_workers: int,
        shared: Any = None,
        environments: Sequence[Mapping[str, str]] = (),
    ) -> None:
        self._function, turns = function, itertools.cycle(environments or ({},))
        self._workers = [_Worker(function, shared, next(turns)) for _ in range(num_workers)]
        self._threads: list[threading.Thread] = []

    def __enter__(self) -> WorkerPool:
        return self

    def start(self) -> None:
        """Start every process that is not running yet."""
        for worker in self._workers:
            worker.start()

    def run(
        self,
        payloads: Sequence[Any],
        on_event: OnEvent | None = None,
        *,
        function: str | None = None,
        on_death: OnDeath | None = None,
    ) -> Iterator[TaskOutcome]:
        """The outcome of the task with each payload, as they finish; `function` is called instead of the pool's own.

        Payloads start in the order given. An exception in a task, or the death of its worker, becomes that task's
        `error`; the others go on. With `on_death`, which hears of it first, a task whose worker died is tried once more
        when the others are done.
        """
        died = []
        for outcome in self._run(payloads, on_event, function):
            if outcome.died and on_death is not None:
                on_death(outcome)
                died.append(outcome.index)
            else:
                yield outcome
        if died:
            again = self._run(
                [payloads[index] for index in died], lambda at, event: on_event and on_event(died[at], event), function
            )
            yield from (replace(outcome, index=died[outcome.index]) for outcome in again)

    def _run(self, payloads: Sequence[Any], on_event: OnEvent | None, function: str | None) -> Iterator[TaskOutcome]:
        todo = iter(enumerate((function or self._function, payload) for payload in payloads))
        lock, events = threading.Lock(), queue.SimpleQueue[tuple[str, int, Any]]()
        self._threads = [
            threading.Thread(target=_serve, args=(worker, todo, lock, events), daemon=True)
            for worker in self._workers[: len(payloads)]
        ]
        for thread in self._threads:
            thread.start()
        yield from _collect(events, len(payloads), on_event)

    def ask_to_stop(self) -> None:
        """Ask what every worker does to stop, which ends one that does not train; tasks end as they then end."""
        for worker in self._workers:
            worker.ask()

    def kill(self) -> None:
        """End every process at once, whatever it does; tasks under way end as those of one that died."""
        for worker in self._workers:
            worker.kill()

    def __exit__(self, *error: object) -> None:
        end = time.monotonic() + _SAVE_SECONDS
        for worker in self._workers:
            worker.stopped = True
        try:
            self.ask_to_stop()
            for thread in self._begun():
                thread.join(max(0.0, end - time.monotonic()))
        finally:  # asked again to end
            for worker in self._workers:
                worker.stop()
        for thread in self._begun():
            thread.join()
        for worker in self._workers:
            worker.close()

    def _begun(self) -> list[threading.Thread]:
        """Threads to be waited for: Ctrl-C may have come before the others began."""
        return [thread for thread in self._threads if thread.is_alive()]


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
            value, error = (content, None) if kind == "value" else (None, content)
            yield TaskOutcome(index=index, value=value, error=error, died=kind == "died")


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
        index, call = task
        try:
            for kind, content in worker.run(call):
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
        self._dump: IO[bytes] | None = None
        self._tasks = itertools.count(1)
        self.stopped = False

    def start(self) -> None:
        """Start the process, unless it is running."""
        if self._process is None:
            self._launch()

    def run(self, call: tuple[str, Any]) -> Iterator[tuple[str, Any]]:
        """Messages of one task (a function by its name, and what it is given).

        Any number of "event", then "value", "error", "died" or "not loaded".
        """
        process, limit, task = self._process or self._launch(), patience(), next(self._tasks)
        if self.stopped:  # told to stop while it was starting
            process.kill()
        assert process.stdin is not None
        assert process.stdout is not None
        hung: list[float] = []
        try:
            send(process.stdin, task, cloudpickle.dumps(call))
            while True:
                with _within(limit, process, hung):
                    kind, content = pickle.loads(receive(process.stdout, task, LONGEST)[1])
                if kind == "alive":
                    still_alive()
                else:
                    yield kind, content
                if kind not in ("alive", "event"):
                    return
        except (EOFError, BrokenPipeError):
            said = self._how_it_ended(hung)
        except Garbled:
            process.kill()
            self._how_it_ended(hung)
            said = "was ended: its pipe carried what it did not say; write to no descriptor that you did not open"
        if not self.stopped:
            yield ("error" if hung else "died"), f"the worker process {said}"

    def _how_it_ended(self, hung: list[float]) -> str:
        """In words, of a process that closed its pipe; it is gone afterwards."""
        process, dump = self._process, self._dump
        assert process is not None
        self._process = self._dump = None
        try:
            process.wait(_GRACE_SECONDS)
        except subprocess.TimeoutExpired:  # it closed the pipe and goes on
            process.kill()
        code, place = _discard(process), where(dump)
        if dump is not None:
            dump.close()
        return silent_too_long(hung[0], place) if hung else how_it_ended(code) + place

    def ask(self) -> None:
        """Ask what the process does to stop."""
        if (process := self._process) is not None:
            process.send_signal(ASK)

    def stop(self) -> None:
        """Kill the process, in the middle of a task if need be; a task under way ends without an outcome."""
        self.stopped = True
        self.kill()

    def kill(self) -> None:
        """Kill the process; a task under way ends as one of a process that died."""
        if (process := self._process) is not None:
            process.kill()

    def close(self) -> None:
        """Release the process and its pipes, once nothing runs any more."""
        if self._process is not None:
            _discard(self._process)
        if self._dump is not None:
            self._dump.close()

    def _launch(self) -> _Process:
        environment = os.environ | {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"} | dict(self._environment)
        if _OUTER not in environment:
            environment[_OUTER] = json.dumps({name: os.environ.get(name) for name in _SET_HERE})
        command = [sys.executable, "-m", "flops_fit.processes.worker_process"]
        environment["PYTHONPATH"] = os.pathsep.join([entry for entry in sys.path if entry] + [os.getcwd()])
        file = dump_file()
        process: _Process
        if forks.POSSIBLE and file is not None:
            ours = self._module.startswith("flops_fit")  # the user's are imported by each process as they are then
            process = forks.fork(command, environment, file.fileno(), self._module if ours else None)
        else:
            process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment)
        self._process, self._dump = process, file
        assert process.stdin is not None
        send(process.stdin, 0, self._start)
        send(process.stdin, 0, self._shared)
        return process


@contextlib.contextmanager
def _within(seconds: float, process: _Process, hung: list[float]) -> Iterator[None]:
    """End the process where the block takes longer, and note that in `hung`."""

    def end() -> None:
        hung.append(seconds)
        end_with_dump(process)

    timer = threading.Timer(seconds, end)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


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


def outer_environment() -> dict[str, str]:
    """The environment for a program that is not ours: as it was before a worker process changed it for itself."""
    environment = dict(os.environ)
    before = json.loads(environment.pop(_OUTER, "{}"))
    environment |= {name: value for name, value in before.items() if value is not None}
    return {name: value for name, value in environment.items() if before.get(name, "") is not None}
