"""`flops-fit ui`: Dagster's web server and daemon on the study's instance, reachable from this machine only."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from flops_fit.errors import FlopsFitError
from flops_fit.study import Study
from flops_fit_assets.home import HOME_VARIABLE, STUDY_VARIABLE, home_directory, instance_directory

if TYPE_CHECKING:
    from rich.console import Console

HOST = "127.0.0.1"


def serve(study: Path, port: int, console: Console) -> int:
    """Run web server and daemon until Ctrl-C; returns their exit code. Raises `FlopsFitError` if the port is taken."""
    loaded = Study.from_toml(study)  # refuse here what Dagster would show only as a failed code location
    _refuse_taken(port)
    home = home_directory()
    console.print(f"{loaded.name}: http://{HOST}:{port}/asset-groups (Ctrl-C ends it)", highlight=False)
    process = subprocess.Popen(
        dagster_command(port),
        env=dagster_environment(study, home, loaded.hardware.num_workers()),
    )
    try:
        return process.wait()
    except KeyboardInterrupt:
        return process.wait()


def dagster_command(port: int) -> list[str]:
    """`dagster dev`: web server, daemon and code server, ended together."""
    command = [sys.executable, "-m", "dagster", "dev", "--host", HOST, "--port", str(port)]
    return [*command, "--module-name", "flops_fit_assets.definitions", "--log-level", "warning"]


def dagster_environment(study: Path, home: Path, workers: int) -> dict[str, str]:
    """The environment in which Dagster finds the instance, the study and the data."""
    return os.environ | {
        "DAGSTER_HOME": str(instance_directory(home, workers)),
        STUDY_VARIABLE: str(study.resolve()),
        HOME_VARIABLE: str(home),
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1"),  # one thread per training: several run at a time
    }


def _refuse_taken(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            raise FlopsFitError(f"port {port} is taken or not allowed ({error}); give another with --port") from error
