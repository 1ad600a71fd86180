"""The study's files as typed values, and the IO manager that hands them from asset to asset. Nothing is pickled."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from dagster import AssetKey, DagsterInstance, InitResourceContext, InputContext, IOManager, OutputContext, io_manager

from flops_fit.errors import FileError
from flops_fit.results.results import ExperimentResult
from flops_fit_assets.freshness.history import latest_version, latest_versions
from flops_fit_assets.freshness.versions import version_of
from flops_fit_assets.graph.step_failures import failing_readably
from flops_fit_assets.source import StudySource
from flops_fit_assets.storage.store import StudyStore


@dataclass(frozen=True, kw_only=True)
class Kept:
    """What of an asset's partitions can be used, and what not and why."""

    values: Mapping[str, Any]
    unusable: Mapping[str, str]


class StudyIOManager(IOManager):
    """Writes an asset's value as JSON and reads it back, refusing a file changed since it was materialized."""

    def __init__(self, store: StudyStore, instance: DagsterInstance | None) -> None:
        self._store, self._instance = store, instance

    @failing_readably()
    def handle_output(self, context: OutputContext, obj: Any) -> None:
        """Keep the value; a training's result was written, atomically, by the training itself."""
        if not isinstance(obj, ExperimentResult):
            if changed := self.set_aside_if_changed(context.asset_key):
                context.log.warning(changed)
            self._store.write(context.asset_key.path[-1], obj)

    @failing_readably()
    def load_input(self, context: InputContext) -> Any:
        """The value of an asset or of one partition; of several partitions, a dict of those that can be used."""
        key = context.asset_key
        if not context.has_asset_partitions:
            return self.load(key)
        partitions = context.asset_partition_keys
        if len(partitions) == 1 and not (context.definition_metadata or {}).get("allow_missing_partitions"):
            return self._store.read(key.path[-1], partitions[0])
        kept = self.load_partitions(key, partitions)
        for partition, reason in kept.unusable.items():
            context.log.warning(f"{key.to_user_string()}[{partition}] is left out: {reason}")
        return dict(kept.values)

    def load_partitions(self, key: AssetKey, partitions: Iterable[str]) -> Kept:
        """Those partitions whose files are there and are what was materialized."""
        recorded = latest_versions(self._instance, key, partitions) if self._instance else {}
        self._store.pull_results(recorded)
        values, unusable = {}, {}
        for partition, version in recorded.items():
            try:
                value = self._store.read_here(key.path[-1], partition)
            except FileNotFoundError as error:
                unusable[partition] = f"its file {error.filename} is gone"
                continue
            except FileError as error:
                unusable[partition] = str(error)
                continue
            if version_of(value) == version:
                values[partition] = value
            else:
                unusable[partition] = "its file was changed since it was materialized; materialize it again"
        return Kept(values=values, unusable=unusable)

    def set_aside_if_changed(self, key: AssetKey) -> str | None:
        """Rename the file of an asset without partitions that is not what was materialized; what to say of it."""
        if not self._store.path(key.path[-1]).exists():
            return None
        try:
            self.load(key)
        except FileError as error:
            return f"{error}. Kept as {self._store.set_aside(key.path[-1]).name}, made again"
        return None

    def load(self, key: AssetKey) -> Any:
        """The value of an asset without partitions; raises `FileError` where it is not what was materialized."""
        try:
            value = self._store.read(key.path[-1])
        except FileNotFoundError as error:
            name = key.to_user_string()
            raise FileError(f"{error.filename} does not exist; materialize {name} first, or again") from error
        recorded = latest_version(self._instance, key) if self._instance else None
        if recorded is not None and version_of(value) != recorded:
            raise FileError(
                f"{self._store.path(key.path[-1])} was changed since {key.to_user_string()} was materialized; "
                f"materialize {key.to_user_string()} again"
            )
        return value


def study_io_manager(source: StudySource) -> Any:
    """The IO manager of one study as a Dagster resource."""

    @io_manager(description=f"JSON files in {source.directory}")
    def files(context: InitResourceContext) -> StudyIOManager:
        return StudyIOManager(source.store, context.instance)

    return files
