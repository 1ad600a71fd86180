"""A PostgreSQL server of its own in a temporary folder, and a Dagster instance that keeps its history there.

The programs are Debian's (`apt-get install postgresql`); `pip install dagster-postgres` in the version that goes with
Dagster (docs/cluster.md), or a folder that has it in PYTHONPATH.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from contextlib import contextmanager
from pathlib import Path

from webdriver import free_port

SECTION = """
storage:
  postgres:
    postgres_db:
      scheme: postgresql+psycopg2
      username: postgres
      password: ""
      hostname: 127.0.0.1
      port: {port}
      db_name: postgres
"""


@contextmanager
def server():
    """The port of a new, empty server on this machine's loopback; it ends, and its data goes, with the context."""
    folder, port = Path(tempfile.mkdtemp(prefix="flops_fit_postgresql_")), free_port()
    if os.geteuid() == 0:  # PostgreSQL refuses to be root
        shutil.chown(folder, "postgres")
    try:
        _program("initdb", "-D", folder / "data", "-U", "postgres", "-A", "trust", "--no-sync")
        options = f"-p {port} -k {folder} -c listen_addresses=127.0.0.1"
        _program("pg_ctl", "-D", folder / "data", "-w", "-l", folder / "log", "-o", options, "start")
        try:
            yield port
        finally:
            _program("pg_ctl", "-D", folder / "data", "-m", "fast", "stop")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def keep_history_in(home, port):
    """Have the instance of `home`, whose `dagster.yaml` is there, use the server at `port`."""
    config = Path(home) / "dagster" / "dagster.yaml"
    config.write_text(config.read_text() + SECTION.format(port=port))


def database_bytes(port):
    """How large the server's one database is."""
    query = "select pg_database_size('postgres')"
    return int(_program("psql", "-h", "127.0.0.1", "-p", port, "-U", "postgres", "-Atc", query))


def _program(name, *arguments):
    found = shutil.which(name) or str(max(Path("/usr/lib/postgresql").glob(f"*/bin/{name}")))
    as_other = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
    command = [*as_other, found, *map(str, arguments)]
    done = subprocess.run(command, capture_output=name != "pg_ctl", text=True, check=True, cwd="/tmp")
    return done.stdout
