"""The processes that runs are forked from.

`main` is the first: it has loaded Dagster and torch, and nothing of the user's. For each code location that it is asked
for it forks one that loads that too (`_serve_location`), and forks a process for each run of it, until a source that it
has loaded changes, nobody has asked for a while, or who asked is gone; runs under way go on to their end.

    python -m flops_fit_assets.warm_runs.server NUMBER

NUMBER is a socket, each message on which is the request for a code location and brings a pipe for what follows.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import signal
import socket
import sys
import tempfile
import traceback
from dataclasses import replace
from multiprocessing import connection, get_context
from multiprocessing.context import ForkProcess
from pathlib import Path
from typing import Any

from flops_fit_assets.warm_runs.sources import FilesRead, Sources, now

LONGEST = 100_000  # bytes of a request
_LOADED = ("torch", "torch._dynamo", "dagster._cli.api", "flops_fit_assets.definitions")
_FORK = get_context("fork") if sys.platform != "win32" else None


def main(number: int) -> None:
    """Serve the socket until nobody holds its other end."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for runs, and for who asks, whose end is ours
    began = now()
    _load()
    loaded = replace(Sources.loaded(began, installed=False), folders={})  # those of the user's are of no concern here
    with socket.socket(fileno=number) as requests:
        while True:
            request, ends, _, _ = socket.recv_fds(requests, LONGEST, 1)
            if not request:
                return
            gc.freeze()  # so that no collection touches, and thereby copies, what the forks share
            _fork(_serve_location, requests, ends[0], json.loads(request), loaded)
            os.close(ends[0])


def _load() -> None:
    """What every run needs, and what Dagster finds out anew in each process."""
    from dagster import DagsterInstance

    from flops_fit_assets.instance.sqlite import lighten

    for name in _LOADED:
        importlib.import_module(name)
    lighten()
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "dagster.yaml").touch()
        DagsterInstance.local_temp(folder).dispose()  # its migrations are read, its statements compiled


def _fork(job: Any, *arguments: Any) -> ForkProcess:
    assert _FORK is not None
    process = _FORK.Process(target=job, args=arguments)
    process.start()
    return process


def _serve_location(requests: socket.socket, end: int, request: dict[str, Any], loaded: Sources) -> None:
    """Load a code location, then fork its runs. Answers each request with one message, and says how each run ended."""
    requests.close()
    asked, before, threads = connection.Connection(end), set(sys.modules), _threads()
    began, files = now(), FilesRead()
    problem = _load_location(request["origin"])
    if not problem and _threads() > threads:
        problem = "importing it begins threads, and a process with threads cannot be forked safely"
    own = Sources.loaded(began, besides=before, read=files.stop())
    gc.freeze()
    runs: dict[str, ForkProcess] = {}
    while True:
        ready = connection.wait([asked, *(run.sentinel for run in runs.values())], None if runs else request["idle"])
        if not ready:
            return
        for name in [name for name, run in runs.items() if run.sentinel in ready]:
            run = runs.pop(name)
            run.join()
            if not _say(asked, kind="ended", run=name, code=run.exitcode):
                return
        if asked in ready:
            try:
                wanted = json.loads(asked.recv_bytes())
            except (EOFError, ConnectionResetError):
                return  # the process ends when its runs have
            if asked.poll():  # one asks at a time, so this is the end: who asked has had it run elsewhere meanwhile
                return
            if problem:
                _say(asked, kind="cannot", why=problem)
            elif not (loaded.unchanged and own.unchanged):
                _say(asked, kind="stale", all=not loaded.unchanged)
            else:
                runs[wanted["run"]] = _fork(_run, asked, wanted["arguments"])
                _say(asked, kind="began")


def _load_location(origin: str) -> str:
    """What is wrong with it, "" for nothing."""
    from dagster._core.definitions.reconstruct import ReconstructableRepository
    from dagster._core.origin import RepositoryPythonOrigin
    from dagster._serdes import deserialize_value

    try:
        ReconstructableRepository(deserialize_value(origin, RepositoryPythonOrigin).code_pointer).get_definition()
    except BaseException:  # whatever the user's code raises
        return traceback.format_exc()
    return ""


def _say(asked: connection.Connection, **message: Any) -> bool:
    """Whether somebody listens."""
    try:
        asked.send_bytes(json.dumps(message).encode())
    except (BrokenPipeError, ConnectionResetError):
        return False
    return True


def _run(asked: connection.Connection, arguments: str) -> None:
    """`dagster api execute_run`, as Dagster's launchers for other machines have it."""
    asked.close()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    from dagster import DagsterInstance
    from dagster._cli.api import execute_run_command
    from dagster._grpc.types import ExecuteRunArgs
    from dagster._serdes import deserialize_value
    from numpy import random

    from flops_fit_assets.warm_runs.process_of_run import ProcessOfRun

    random.seed()  # noqa: NPY002  as in a process of its own; `random` does so by itself
    called = deserialize_value(arguments, ExecuteRunArgs)
    assert called.instance_ref is not None
    with DagsterInstance.from_ref(called.instance_ref) as instance:
        instance.add_run_tags(called.run_id, ProcessOfRun.this().tags)
    execute_run_command.main([arguments], standalone_mode=False)


def _threads() -> int:
    return len(os.listdir("/proc/self/task"))


if __name__ == "__main__":
    main(int(sys.argv[1]))
