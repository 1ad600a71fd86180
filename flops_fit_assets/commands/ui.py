"""`flops-fit ui`: Dagster's web server and daemon on the study's instance, reachable from this machine only."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from flops_fit.basics.files import write_text
from flops_fit.errors import FlopsFitError
from flops_fit.study.study import Study
from flops_fit_assets.instance.home import HOME_VARIABLE, STUDY_VARIABLE, home_directory, instance_directory
from flops_fit_assets.instance.locks import pages_lock, say_holder

if TYPE_CHECKING:
    from rich.console import Console

HOST = "127.0.0.1"
_WORKSPACE = """\
# Written by flops-fit each time its pages are opened.
load_from:
  - python_module:
      module_name: flops_fit_assets.definitions
      location_name: flops_fit
"""


def serve(study: Path, port: int, console: Console) -> int:
    """Run web server and daemon until Ctrl-C; returns their exit code.

    Raises `FlopsFitError` if the port is taken or the home's pages are open already.
    """
    from flops_fit_assets.headless.dagster_runs import end_lost_runs

    loaded = Study.from_toml(study)  # refuse here what Dagster would show only as a failed code location
    _refuse_taken(port)
    home = home_directory()
    with pages_lock(home) as lock:
        if lost := end_lost_runs(home):
            console.print(
                f"runs whose processes were gone when the pages were opened: {lost}; now failed, and tried again as "
                f"run_retries in {home / 'dagster' / 'dagster.yaml'} says",
                highlight=False,
                soft_wrap=True,
            )
        console.print(f"{loaded.name}: http://{HOST}:{port}/asset-groups (Ctrl-C ends it)", highlight=False)
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
        process = subprocess.Popen(
            dagster_command(port, home),
            env=dagster_environment(study, home, loaded.hardware.num_workers()),
            preexec_fn=_listen_to_interrupts,
            pass_fds=(lock.fileno(),),  # should this process be killed, Dagster still holds its home
        )
        say_holder(lock, process.pid)
        try:
            return process.wait()
        except KeyboardInterrupt:
            return 0
        finally:
            _end(process)


def _listen_to_interrupts() -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore them


def _end(process: subprocess.Popen[bytes]) -> None:
    """Ask Dagster to end its own processes, and wait until it has."""
    if process.poll() is None:
        process.send_signal(signal.SIGINT)
        process.wait()


def dagster_command(port: int, home: Path) -> list[str]:
    """`dagster dev`: web server, daemon and code server, ended together."""
    workspace = write_text(home / "dagster" / "workspace.yaml", _WORKSPACE)
    command = [sys.executable, "-m", "dagster", "dev", "--host", HOST, "--port", str(port)]
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
