"""Less work and fewer waits for the disk in Dagster's SQLite storage."""

from __future__ import annotations

import functools
import sqlite3
from typing import Any


@functools.cache
def lighten() -> None:
    """In this process from now on."""
    _relax_syncing()
    _read_migrations_once()
    _keep_engines()


def _relax_syncing() -> None:
    """Let every SQLite connection that SQLAlchemy opens use `synchronous = NORMAL`.

    Dagster commits some seventy times for one run, in write-ahead mode but with an fsync each. With this only
    checkpoints wait for the disk: a power cut may lose the last events, never tear the file, and a killed process loses
    nothing (https://sqlite.org/pragma.html#pragma_synchronous).
    """
    from sqlalchemy import Engine, event

    @event.listens_for(Engine, "connect")
    def relax(connection: Any, record: Any) -> None:
        if isinstance(connection, sqlite3.Connection):
            connection.execute("PRAGMA synchronous = NORMAL")


def _read_migrations_once() -> None:
    """Let Alembic keep the migrations of Dagster that it has read.

    Dagster gives every run a database of its own, and to mark that as up to date reads ninety files twice.
    """
    from alembic.script import ScriptDirectory

    read, known = ScriptDirectory.from_config, dict[str, ScriptDirectory]()

    def from_config(config: Any) -> ScriptDirectory:
        place = config.get_main_option("script_location") or ""
        if not place.startswith("dagster:"):  # whose own business it is
            return read(config)
        if place not in known:
            known[place] = read(config)
        return known[place]

    ScriptDirectory.from_config = from_config  # type: ignore[method-assign]


def _keep_engines() -> None:
    """Let Dagster keep the engine of each database, which remembers the statements that it has compiled.

    It makes one, and compiles, for every statement, a hundred in a run. They hold no connection, so that they can be
    used again and after a fork.
    """
    from dagster._core.storage.event_log.sqlite import sqlite_event_log
    from dagster._core.storage.runs.sqlite import sqlite_run_storage

    for module in (sqlite_event_log, sqlite_run_storage):
        module.create_engine = _engine  # type: ignore[attr-defined]


def _engine(url: str, *, poolclass: Any, connect_args: dict[str, Any] | None = None) -> Any:
    return _kept_engine(url, poolclass, tuple((connect_args or {}).items()))


@functools.lru_cache(maxsize=16)
def _kept_engine(url: str, poolclass: Any, connect_args: tuple[tuple[str, Any], ...]) -> Any:
    from sqlalchemy import create_engine

    return create_engine(url, poolclass=poolclass, connect_args=dict(connect_args))
