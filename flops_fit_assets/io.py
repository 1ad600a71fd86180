"""The study's files as typed values, and the IO manager that hands them from asset to asset. Nothing is pickled."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dagster import AssetKey, DagsterInstance, InitResourceContext, InputContext, IOManager, OutputContext, io_manager

from flops_fit.errors import FileError
from flops_fit.files import read_value, write_json
from flops_fit.results import RESULT_FILE, ExperimentResult
from flops_fit_assets.history import latest_version, latest_versions
from flops_fit_assets.source import StudySource
from flops_fit_assets.versions import version_of

if TYPE_CHECKING:
    from flops_fit.scaling_law import ScalingLaw
    from flops_fit.size_map import SizeMap
    from flops_fit.sweep import SweepPlan

PLAN_SCHEMA = "flops_fit.sweep_plan/1"
SIZE_MAP_SCHEMA = "flops_fit.size_map/1"


@dataclass(frozen=True, kw_only=True)
class StudyStore:
    """The files of one study in `directory`; readers raise `FileError` for a torn or foreign file."""

    directory: Path

    @property
    def runs(self) -> Path:
        """The folder with one folder for each training."""
        return self.directory / "runs"

    @property
    def report(self) -> Path:
        """The report, one self-contained page."""
        return self.directory / "report.html"

    def path(self, asset: str, partition: str | None = None) -> Path:
        """Where the value of an asset is kept."""
        if asset == "training_run":
            if not partition or Path(partition).name != partition or partition.startswith("."):
                raise FileError(f"partition {partition!r} is no experiment id; give one from the plan")
            return self.runs / partition / RESULT_FILE
        return self.directory / f"{asset}.json"

    def write(self, asset: str, value: Any, partition: str | None = None) -> Path:
        """Keep `value` of an asset, atomically."""
        path = self.path(asset, partition)
        if isinstance(value, ExperimentResult):
            return value.save(path)
        return value.save(path) if hasattr(value, "save") else write_json(path, value.to_dict())

    def read(self, asset: str, partition: str | None = None) -> Any:
        """The kept value of an asset; raises `FileNotFoundError` where there is none."""
        return _READERS[asset](self.path(asset, partition))


def _read_size_map(path: Path) -> SizeMap:
    from flops_fit.size_map import SizeMap

    return read_value(path, SIZE_MAP_SCHEMA, SizeMap.from_dict)


def _read_plan(path: Path) -> SweepPlan:
    from flops_fit.sweep import SweepPlan

    return read_value(path, PLAN_SCHEMA, SweepPlan.from_dict)


def _read_law(path: Path) -> ScalingLaw:
    from flops_fit.scaling_law import ScalingLaw

    return ScalingLaw.load(path)


_READERS: Mapping[str, Callable[[Path], Any]] = {
    "size_map": _read_size_map,
    "sweep_plan": _read_plan,
    "training_run": ExperimentResult.load,
    "scaling_law": _read_law,
}


@dataclass(frozen=True, kw_only=True)
class Kept:
    """What of an asset's partitions can be used, and what not and why."""

    values: Mapping[str, Any]
    unusable: Mapping[str, str]


class StudyIOManager(IOManager):
    """Writes an asset's value as JSON and reads it back, refusing a file changed since it was materialized."""

    def __init__(self, store: StudyStore, instance: DagsterInstance | None) -> None:
        self._store, self._instance = store, instance

    def handle_output(self, context: OutputContext, obj: Any) -> None:
        """Keep the value; a training's result was written, atomically, by the training itself."""
        partition = context.partition_key if context.has_partition_key else None
        if not isinstance(obj, ExperimentResult):
            self._store.write(context.asset_key.path[-1], obj, partition)

    def load_input(self, context: InputContext) -> Any:
        """The value of an asset or of one partition; of several partitions, a dict of those that can be used."""
        key = context.asset_key
        if not context.has_asset_partitions:
            return self._load(key)
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
        values, unusable = {}, {}
        for partition, version in recorded.items():
            try:
                value = self._store.read(key.path[-1], partition)
            except (FileError, FileNotFoundError) as error:
                unusable[partition] = str(error)
                continue
            if version_of(value) == version:
                values[partition] = value
            else:
                unusable[partition] = "its file was changed since it was materialized; materialize it again"
        return Kept(values=values, unusable=unusable)

    def _load(self, key: AssetKey) -> Any:
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
        return StudyIOManager(StudyStore(directory=source.directory), context.instance)

    return files
