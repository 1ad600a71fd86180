"""A worker process of a `WorkerPool`: tasks come in where its input was, messages go out where its output was."""

from __future__ import annotations

import importlib
import os
import pickle
import select
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from typing import Any

from flops_fit.errors import FlopsFitError
from flops_fit.processes import alive, forks
from flops_fit.processes.pipes import receive, send
from flops_fit.processes.post_mortem import dump_into
from flops_fit.processes.stop_requests import end_when_asked

_LOOK_SECONDS = 1.0


def main(dump: int | None = None) -> None:
    """Serve tasks until the parent is done or gone; a stack goes to the descriptor `dump` should this crash."""
    sys.dont_write_bytecode = True  # Python would take an edit within a second for what it was compiled from
    incoming, outgoing = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(2, 1)  # what the user's code prints goes to standard error
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle, which then stops us
    end_when_asked()
    _kept = None if dump is None else dump_into(dump)
    own = os.getpid()
    threading.Thread(target=_end_with_parent, args=(incoming.fileno(),), daemon=True).start()

    def say(task: int, kind: str, content: Any) -> None:
        if os.getpid() != own:  # a copy of this process that the user's code forked: the task is not its own
            os._exit(1)
        try:
            send(outgoing, task, pickle.dumps((kind, content)))
        except OSError:  # the parent is gone, or the user's code closed the pipe: stop at once, as if killed with it
            if kind != "alive":  # who waits for a command that has been paid for goes on
                os._exit(1)

    try:
        start = pickle.loads(receive(incoming)[1])
        sys.path[:] = start["sys_path"]
        functions = _Functions()
        shared, problem = _load(start["function"], functions, receive(incoming)[1])
        while True:
            task, sent = receive(incoming)
            if problem:
                say(task, "not loaded", problem)
            else:
                say(task, *_perform(sent, functions, shared, _Sayer(say, task)))
    except (EOFError, BrokenPipeError):  # the parent is done, or gone
        return


def _end_with_parent(incoming: int) -> None:
    """End this process if it hangs once nobody holds the other end of the pipe that its tasks come through."""
    if not hasattr(select, "poll"):
        return
    poll = select.poll()
    poll.register(incoming, 0)  # hears of nothing but the end
    poll.poll()
    while alive.silent_for() < alive.patience():
        time.sleep(_LOOK_SECONDS)
    os._exit(1)


class _Sayer:
    """Says something about one task."""

    def __init__(self, say: Callable[[int, str, Any], None], task: int) -> None:
        self._say, self._task = say, task

    def __call__(self, kind: str, content: Any = None) -> None:
        self._say(self._task, kind, content)


class _Functions(dict[str, Any]):
    """`"package.module:name"` → the function, imported once."""

    def __missing__(self, reference: str) -> Any:
        module, name = reference.split(":")
        self[reference] = getattr(importlib.import_module(module), name)
        return self[reference]


def _load(reference: str, functions: _Functions, pickled: bytes) -> tuple[Any, str | None]:
    import torch

    torch.set_num_threads(1)
    _ = functions[reference]  # imported before there is a task
    try:
        return pickle.loads(pickled), None
    except (Exception, SystemExit) as error:  # whatever importing the user's modules raises
        return None, f"{type(error).__name__}: {error}"


def _perform(sent: bytes, functions: _Functions, shared: Any, say: _Sayer) -> tuple[str, Any]:
    """Kind and content of the last message about a task."""

    def emit(event: dict[str, Any]) -> None:
        say("event", event)

    alive.tell(lambda *_: say("alive"))
    try:
        reference, payload = pickle.loads(sent)
        given = (payload, emit) if shared is None else (payload, emit, shared)
        return "value", functions[reference](*given)
    except FlopsFitError as error:  # which says all by itself
        return "error", str(error)
    except BaseException as error:  # whatever the user's code raises; Ctrl-C is not for this process
        return "error", f"{type(error).__name__}: {error}\n{traceback.format_exc(limit=-5)}"
    finally:
        alive.tell(None)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        forks.serve(int(sys.argv[1]), main)
    else:
        main()
