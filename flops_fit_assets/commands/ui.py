"""`flops-fit ui`: Dagster's web server and daemon on the study's instance, for this machine's own browser only."""

from __future__ import annotations

import http.client
import math
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from flops_fit.basics.files import write_text
from flops_fit.basics.terminal import say
from flops_fit.errors import FlopsFitError
from flops_fit.study.study import Study
from flops_fit.study.study_file import name_of_all, varied
from flops_fit_assets.instance.home import STUDY_VARIABLE, instance_directory
from flops_fit_assets.instance.locks import pages_lock, say_holder
from flops_fit_assets.instance.where import HOME_VARIABLE, home_directory
from flops_fit_assets.pages.guard import FORBIDDEN, checked_hosts
from flops_fit_assets.pages.guarded_dagster import ALLOWED_VARIABLE

if TYPE_CHECKING:
    from rich.console import Console

HOST = "127.0.0.1"
FIRST_PAGE, LINEAGE = "/assets/study/progress", "/asset-groups"  # of several studies each has its own
_LOOK_SECONDS = 0.2
_PATIENCE_SECONDS = 60.0
_WORKSPACE = """\
# Written by flops-fit each time its pages are opened.
load_from:
  - python_module:
      module_name: flops_fit_assets.definitions
      location_name: flops_fit
"""


def serve(study: Path, port: int, console: Console, allowed: Iterable[str] = ()) -> int:
    """Run web server and daemon until Ctrl-C or another signal that asks to end; returns the exit code.

    `allowed` are hosts that the pages may be asked for besides this machine's own names, as of `pages.guard.Guard`.
    Raises `FlopsFitError` if the port is taken, if the home's pages are open already, or if Dagster ends by itself.
    """
    hosts = checked_hosts(allowed)
    found = varied(study)
    # refuse here what Dagster would show only as a failed code location
    studies = [Study.from_toml(path) for path in (found[1].values() if found else [study])]
    loaded, name = studies[0], name_of_all(study) if found else studies[0].name
    _refuse_taken(port)
    from flops_fit_assets.headless.dagster_runs import end_lost_runs  # not before: it loads torch and Dagster

    home = home_directory()
    with pages_lock(home) as lock:
        if lost := end_lost_runs(home):
            say(
                console,
                f"runs whose processes were gone when the pages were opened: {lost}; now failed, and tried again as "
                f"run_retries in {home / 'dagster' / 'dagster.yaml'} says",
            )
        say(console, f"{name}: its pages are being opened, which takes some ten seconds")
        process = subprocess.Popen(
            dagster_command(port, home),
            env=dagster_environment(study, home, loaded.hardware.num_workers())
            | {ALLOWED_VARIABLE: " ".join(sorted(hosts))},
            preexec_fn=_listen_to_interrupts,
            pass_fds=(lock.fileno(),),  # should this process be killed, Dagster still holds its home
        )
        say_holder(lock, process.pid)
        try:
            _say_where(process, console, port, name, LINEAGE if found else FIRST_PAGE)
            raise FlopsFitError(
                f"Dagster ended by itself, with exit code {process.wait()}: its web server or its daemon was killed or "
                "failed, see what it printed above; run this again to go on; runs under way go on meanwhile"
            )
        except KeyboardInterrupt as error:  # or another signal that asks to end
            number = getattr(error, "number", signal.SIGINT)
            return 0 if number == signal.SIGINT else 128 + number
        finally:
            _end(process)


def _listen_to_interrupts() -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore them


def _say_where(process: subprocess.Popen[bytes], console: Console, port: int, name: str, page: str) -> None:
    """Print the address of `page` once the pages answer, and after a minute where they do not."""
    address = f"{name}: http://{HOST}:{port}{page}"
    late = f"{address} (no answer in {_PATIENCE_SECONDS:g} s, and still waited for; Ctrl-C ends it)"
    _see_guarded(process, port, lambda: say(console, late, style="yellow"))
    say(console, f"{address} (Ctrl-C ends it)")


def _see_guarded(process: subprocess.Popen[bytes], port: int, on_late: Callable[[], None]) -> None:
    """Wait until the pages answer, and call `on_late` once where that takes long.

    Raises `FlopsFitError` if they answer a stranger, or if Dagster ends before they answer.
    """
    late = time.monotonic() + _PATIENCE_SECONDS
    while (code := process.poll()) is None:
        if time.monotonic() > late:
            late = math.inf
            on_late()
        connection = http.client.HTTPConnection(HOST, port, timeout=10)
        try:
            connection.request("GET", "/server_info", headers={"Host": "stranger.invalid"})
            status = connection.getresponse().status
        except (OSError, http.client.HTTPException):  # not up yet
            time.sleep(_LOOK_SECONDS)
            continue
        finally:
            connection.close()
        if status != FORBIDDEN:
            raise FlopsFitError(
                f"the pages answered a request of another site with {status} instead of {FORBIDDEN}, so nothing guards "
                "them and they are closed again; install the Dagster that flops-fit was made for"
            )
        return
    raise FlopsFitError(f"Dagster ended with exit code {code} before its pages answered; see what it printed above")


def _end(process: subprocess.Popen[bytes]) -> None:
    """Ask Dagster to end its own processes, and wait until it has."""
    if process.poll() is None:
        process.send_signal(signal.SIGINT)
        process.wait()


def dagster_command(port: int, home: Path) -> list[str]:
    """`dagster dev` with the guard: web server, daemon and code server, ended together."""
    workspace = write_text(home / "dagster" / "workspace.yaml", _WORKSPACE)
    command = [sys.executable, "-m", "flops_fit_assets.pages.guarded_dagster", "dev"]
    command += ["--host", HOST, "--port", str(port)]
    return [*command, "--workspace", str(workspace), "--log-level", "error"]


def dagster_environment(study: Path, home: Path, workers: int) -> dict[str, str]:
    """The environment in which Dagster finds the instance, the study and the data."""
    return os.environ | {
        "DAGSTER_HOME": str(instance_directory(home, workers)),
        STUDY_VARIABLE: str(study.resolve()),
        HOME_VARIABLE: str(home),
        "PYTHONWARNINGS": "ignore:Function `dev_command`",  # superseded by a tool that we do not depend on
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1"),  # one thread per training: several run at a time
    }


def _refuse_taken(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            raise FlopsFitError(f"port {port} is taken or not allowed ({error}); give another with --port") from error
