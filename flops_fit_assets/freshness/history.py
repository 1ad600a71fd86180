"""What Dagster's instance remembers of an asset: data versions and tags of the latest materializations."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from dagster import (
    AssetKey,
    AssetMaterialization,
    AssetObservation,
    AssetRecordsFilter,
    DagsterEventType,
    DagsterInstance,
    JsonMetadataValue,
)

from flops_fit_assets.freshness.settings import SETTINGS
from flops_fit_assets.freshness.versions import DATA_VERSION_TAG, MADE_FROM_TAG

_PAGE = 1000
_LOOK_BACK = 20  # observations: those made with the button keep no settings
_MOST_PARTITIONS = 500  # in one query: SQLite limits the variables of a statement


def latest_materialization(instance: DagsterInstance, key: AssetKey) -> AssetMaterialization | None:
    """The last materialization of an asset, None if there was none."""
    event = instance.get_latest_materialization_event(key)
    return event.asset_materialization if event else None


def latest_version(instance: DagsterInstance, key: AssetKey) -> str | None:
    """The data version of the last materialization."""
    latest = latest_materialization(instance, key)
    return (latest.tags or {}).get(DATA_VERSION_TAG) if latest else None


def latest_made_from(instance: DagsterInstance, key: AssetKey) -> str | None:
    """The hash of what the last materialization followed from."""
    latest = latest_materialization(instance, key)
    return (latest.tags or {}).get(MADE_FROM_TAG) if latest else None


def latest_observed(instance: DagsterInstance, key: AssetKey) -> str | None:
    """The data version of the last observation of a source."""
    records = instance.fetch_observations(key, limit=1).records
    observation = records[0].asset_observation if records else None
    return (observation.tags or {}).get(DATA_VERSION_TAG) if observation else None


def latest_versions(instance: DagsterInstance, key: AssetKey, partitions: Iterable[str]) -> Mapping[str, str]:
    """Partition → data version of its last materialization that has one, for those of `partitions` that have any.

    Dagster keeps the tag in a table of its own: no event is read but of those that the last one has none of, as when a
    person reports a materialization by hand.
    """
    wanted = list(partitions)
    found = _in_tags(instance, key, wanted)
    left = [partition for partition in wanted if partition not in found]
    for start in range(0, len(left), _MOST_PARTITIONS):
        found |= _latest_of(instance, key, left[start : start + _MOST_PARTITIONS])
    return found


def _in_tags(instance: DagsterInstance, key: AssetKey, wanted: list[str]) -> dict[str, str]:
    if not wanted:
        return {}
    asked = wanted if len(wanted) <= _MOST_PARTITIONS else None  # all there are
    tags = instance.event_log_storage.get_latest_tags_by_partition(
        key, DagsterEventType.ASSET_MATERIALIZATION, [DATA_VERSION_TAG], asset_partitions=asked
    )
    versions = {partition: of.get(DATA_VERSION_TAG) for partition, of in tags.items()}
    return {partition: version for partition in wanted if (version := versions.get(partition)) is not None}


def _latest_of(instance: DagsterInstance, key: AssetKey, partitions: list[str]) -> dict[str, str]:
    records_filter = AssetRecordsFilter(asset_key=key, asset_partitions=partitions)
    found, cursor = dict[str, str](), None
    while True:
        page = instance.fetch_materializations(records_filter, limit=_PAGE, cursor=cursor)
        for record in page.records:  # newest first
            materialization = record.asset_materialization
            version = (materialization.tags or {}).get(DATA_VERSION_TAG) if materialization else None
            if record.partition_key is not None and version is not None:
                found.setdefault(record.partition_key, version)
        if not page.has_more:
            return found
        cursor = page.cursor


def unfinished_runs(instance: DagsterInstance, key: AssetKey) -> Mapping[str, str]:
    """Partition → the last run that was to materialize it, of those partitions where it has not, or not yet."""
    storage = instance.event_log_storage
    found = storage.get_latest_asset_partition_materialization_attempts_without_materializations(key)
    return {partition: run_id for partition, (run_id, _) in found.items()}


def latest_settings(instance: DagsterInstance, keys: Iterable[AssetKey]) -> Mapping[str, Any]:
    """What the newest observation of `keys` that kept a study's settings says they were; empty where none did."""
    found: list[tuple[float, Mapping[str, Any]]] = []
    for key in keys:
        for record in instance.fetch_observations(key, limit=_LOOK_BACK).records:
            if kept := settings_in(record.asset_observation):
                found.append((record.timestamp, kept))
                break
    return max(found, key=lambda item: item[0])[1] if found else {}


def settings_in(event: AssetMaterialization | AssetObservation | None) -> Mapping[str, Any]:
    """The settings of a study that an event keeps; empty where it keeps none."""
    kept = event.metadata.get(SETTINGS) if event else None
    data = kept.data if isinstance(kept, JsonMetadataValue) else None
    return data if isinstance(data, Mapping) else {}
