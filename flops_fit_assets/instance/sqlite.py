"""Fewer waits for the disk in Dagster's SQLite storage.

Dagster commits some seventy times for one run, in write-ahead mode but with an fsync each. With `synchronous = NORMAL`
only checkpoints wait for the disk: a power cut may lose the last events, never tear the file, and a killed process
loses nothing (https://sqlite.org/pragma.html#pragma_synchronous).
"""

from __future__ import annotations

import functools
import sqlite3
from typing import Any


@functools.cache
def relax_syncing() -> None:
    """Let every SQLite connection that SQLAlchemy opens in this process from now on use `synchronous = NORMAL`."""
    from sqlalchemy import Engine, event

    @event.listens_for(Engine, "connect")
    def relax(connection: Any, record: Any) -> None:
        if isinstance(connection, sqlite3.Connection):
            connection.execute("PRAGMA synchronous = NORMAL")
