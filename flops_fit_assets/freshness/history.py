"""What Dagster's instance remembers of an asset: data versions and tags of the latest materializations."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from dagster import (
    AssetKey,
    AssetMaterialization,
    AssetObservation,
    AssetRecordsFilter,
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
    """Partition → data version of its last materialization, for those of `partitions` that have one."""
    wanted, found = list(partitions), dict[str, str]()
    for start in range(0, len(wanted), _MOST_PARTITIONS):
        found |= _latest_of(instance, key, wanted[start : start + _MOST_PARTITIONS])
    return found


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
