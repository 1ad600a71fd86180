"""Many materializations of one asset logged at once: one transaction instead of several for each.

Dagster's SQLite storage opens, commits and closes two databases for every event, which is 15 ms of CPU and up to three
times that on the clock: a minute for a thousand experiments. The first is therefore logged as Dagster does it, and the
others are copies of what came of it, written together, some hundreds at a time.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import dagster as dg
from dagster import AssetRecordsFilter, DagsterInstance, EventLogEntry

_TOGETHER = 500  # SQLite limits the variables of a statement, and a transaction keeps others waiting


def log_materializations(
    context: dg.AssetExecutionContext, materializations: Sequence[dg.AssetMaterialization]
) -> None:
    """As `context.log_event` of each of `materializations`, which are of one asset and of a partition each."""
    _as_the_first(context.instance, context.log_event, materializations)


def report_materializations(instance: DagsterInstance, materializations: Sequence[dg.AssetMaterialization]) -> None:
    """As `instance.report_runless_asset_event` of each of `materializations`, which are of one asset and of a partition
    each."""
    _as_the_first(instance, instance.report_runless_asset_event, materializations)


def _as_the_first(
    instance: DagsterInstance,
    log: Callable[[dg.AssetMaterialization], None],
    materializations: Sequence[dg.AssetMaterialization],
) -> None:
    """`log` the first of them, and store the others as what came of it."""
    if not materializations:
        return
    first, *others = materializations
    log(first)
    of_first = AssetRecordsFilter(asset_key=first.asset_key, asset_partitions=[first.partition or ""])
    recorded = instance.fetch_materializations(of_first, limit=1).records[0].event_log_entry
    for start in range(0, len(others), _TOGETHER):
        _store(instance, [_like(recorded, other) for other in others[start : start + _TOGETHER]])


def _like(recorded: EventLogEntry, materialization: dg.AssetMaterialization) -> EventLogEntry:
    """The entry that Dagster would have made of `materialization` beside the one of another partition."""
    event = recorded.get_dagster_event()
    data = event.step_materialization_data._replace(materialization=materialization)
    return recorded._replace(timestamp=time.time(), dagster_event=event._replace(event_specific_data=data))


def _store(instance: DagsterInstance, entries: Sequence[EventLogEntry]) -> None:
    storage: Any = instance.event_log_storage
    if not getattr(storage, "is_run_sharded", False):
        storage.store_event_batch(entries)
        return
    statements = [storage.prepare_insert_event(entry) for entry in entries]
    with storage.run_connection(entries[0].run_id) as connection:  # what the run's page shows
        for statement in statements:
            connection.execute(statement)
    with storage.index_connection() as connection:  # what is known of the asset
        inserted = [connection.execute(statement) for statement in statements]
    numbers = [result.inserted_primary_key[0] for result in inserted]
    storage.store_asset_event_tags(entries, numbers)
    storage.store_asset_event(entries[-1], numbers[-1])
