"""Many materializations of one asset logged at once: one transaction instead of several for each.

Dagster's SQLite storage opens, commits and closes two databases for every event, which is 15 ms of CPU and up to three
times that on the clock: a minute for a thousand experiments. The first is therefore logged as Dagster does it, and the
others are copies of what came of it, written together.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import dagster as dg
from dagster import DagsterInstance, EventLogEntry


def log_materializations(
    context: dg.AssetExecutionContext, materializations: Sequence[dg.AssetMaterialization]
) -> None:
    """As `context.log_event` of each of `materializations`, which are of one asset."""
    if not materializations:
        return
    first, *others = materializations
    context.log_event(first)
    recorded = context.instance.fetch_materializations(first.asset_key, limit=1).records[0].event_log_entry
    _store(context.instance, [_like(recorded, other) for other in others])


def _like(recorded: EventLogEntry, materialization: dg.AssetMaterialization) -> EventLogEntry:
    """The entry that Dagster would have made of `materialization` beside the one of another partition."""
    event = recorded.get_dagster_event()
    data = event.step_materialization_data._replace(materialization=materialization)
    return recorded._replace(timestamp=time.time(), dagster_event=event._replace(event_specific_data=data))


def _store(instance: DagsterInstance, entries: Sequence[EventLogEntry]) -> None:
    storage: Any = instance.event_log_storage
    if not entries:
        return
    if not getattr(storage, "is_run_sharded", False):
        storage.store_event_batch(entries)
        return
    with storage.run_connection(entries[0].run_id) as connection:  # what the run's page shows
        for entry in entries:
            connection.execute(storage.prepare_insert_event(entry))
    with storage.index_connection() as connection:  # what is known of the asset
        inserted = [connection.execute(storage.prepare_insert_event(entry)) for entry in entries]
    numbers = [result.inserted_primary_key[0] for result in inserted]
    storage.store_asset_event_tags(entries, numbers)
    storage.store_asset_event(entries[-1], numbers[-1])
