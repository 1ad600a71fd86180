"""What Dagster loads: the study named by `FLOPS_FIT_STUDY` (the packaged demo without it).

dagster dev -m flops_fit_assets.definitions
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import dagster as dg

from flops_fit.study.study import Study
from flops_fit.training.log_events import OnLog
from flops_fit_assets.automation.retries import retry_sensor
from flops_fit_assets.automation.schedules import replan_schedule
from flops_fit_assets.automation.watch import SENSOR_SECONDS, watch_sensor
from flops_fit_assets.compared import ComparedStudies
from flops_fit_assets.graph.assets import study_assets
from flops_fit_assets.graph.io_manager import study_io_manager
from flops_fit_assets.graph.law_comparison import law_comparison_asset
from flops_fit_assets.graph.progress import progress_sensor
from flops_fit_assets.graph.rounds_sensor import rounds_sensor
from flops_fit_assets.instance.home import DEMO_STUDY, STUDY_VARIABLE
from flops_fit_assets.instance.sqlite import lighten
from flops_fit_assets.source import StudySource


def build_study_definitions(
    study: Study | str | os.PathLike[str],
    *,
    key_prefix: str | Sequence[str] = (),
    home: str | os.PathLike[str] | None = None,
    storage: str | os.PathLike[str] | None = None,
) -> dg.Definitions:
    """The assets, checks, schedule and automation of one study, to use alone or merged into a larger project.

    Of a file with [sweep.vary] those of each value's study, with the value in front of their keys, and
    `law_comparison`, which compares their laws.

    Args:
        study: a `Study`, or the path of a `study.toml`.
        key_prefix: put before every asset key; give each study its own where several share a code location.
        home: directory for `<study name>/`; default `FLOPS_FIT_HOME`, or `flops_fit_data`.
        storage: directory or URL that fsspec knows, for machines that share no disk: what is in
            `<storage>/<study name>` counts, and `home` holds a working copy; default `FLOPS_FIT_STORAGE`, or none.
    """
    if isinstance(study, Study):
        return definitions_of(StudySource.of(study, key_prefix, home, storage))
    return _definitions_of_file(Path(study), key_prefix, home, storage)


def _definitions_of_file(
    path: Path,
    key_prefix: str | Sequence[str] = (),
    home: str | os.PathLike[str] | None = None,
    storage: str | os.PathLike[str] | None = None,
    *,
    served: bool = False,
) -> dg.Definitions:
    """`build_study_definitions` of a study file; `served` as of `StudySource`."""
    compared = ComparedStudies.in_file(path, key_prefix, home, storage, served=served)
    if compared is not None:
        return _varied_definitions(compared, path)
    return definitions_of(StudySource.of(path, key_prefix, home, storage, served=served))


def build_comparison_definitions(
    studies: Mapping[str, Study | str | os.PathLike[str]],
    *,
    name: str = "comparison",
    key_prefix: str | Sequence[str] = (),
    at: Sequence[float | str] = (),
    home: str | os.PathLike[str] | None = None,
    storage: str | os.PathLike[str] | None = None,
) -> dg.Definitions:
    """`law_comparison` of studies that are in the same code location, to be merged with their definitions.

    Args:
        studies: by the key prefix that each has there, with `/` between its parts; it is their name in the comparison.
        name: of its folder in `home`, of its group and of its sensor.
        key_prefix: put before its own key.
        at: FLOPs to compare at; by default the largest run, and ten times as much.
        home, storage: as of `build_study_definitions`; those of the studies.

    Raises `StudyError` for fewer than two studies, or two that share a folder.
    """
    lighten()
    sources = {prefix: StudySource.of(study, prefix.split("/"), home, storage) for prefix, study in studies.items()}
    compared = ComparedStudies.of(sources, name=name, key_prefix=key_prefix, at=at, home=home, storage=storage)
    return dg.Definitions(
        assets=[law_comparison_asset(compared)],
        sensors=[_automation(compared.name, [compared.key])],
        executor=dg.in_process_executor,
    )


def definitions_of(source: StudySource, on_log: OnLog | None = None) -> dg.Definitions:
    """`build_study_definitions` of a study that has been read."""
    lighten()
    name = source.study.name
    watch = watch_sensor([source], name)
    return _definitions([source], [*([watch] if watch else []), _automation(name, source.made)], on_log=on_log)


def _varied_definitions(compared: ComparedStudies, path: Path) -> dg.Definitions:
    """All values of a file with [sweep.vary]: one sensor watches the file, one starts what changed."""
    lighten()
    sources = list(compared.sources.values())
    made = [*(key for source in sources for key in source.made), compared.key]
    watch = watch_sensor(sources, compared.name, varied_file=path)
    sensors = [*([watch] if watch else []), _automation(compared.name, made)]
    return _definitions(sources, sensors, [law_comparison_asset(compared)])


def _definitions(
    sources: Sequence[StudySource], sensors: Sequence[Any], more: Sequence[Any] = (), on_log: OnLog | None = None
) -> dg.Definitions:
    rounds = [sensor for source in sources if (sensor := rounds_sensor(source))]
    return dg.Definitions(
        assets=[*(asset for source in sources for asset in study_assets(source, on_log)), *more],
        schedules=[replan_schedule(source) for source in sources],
        sensors=[*sensors, *map(retry_sensor, sources), *map(progress_sensor, sources), *rounds],
        resources={source.resource_key: study_io_manager(source) for source in sources},
        executor=dg.in_process_executor,
    )


def _automation(name: str, made: Iterable[dg.AssetKey]) -> dg.AutomationConditionSensorDefinition:
    return dg.AutomationConditionSensorDefinition(
        f"automation_{name}",
        target=dg.AssetSelection.assets(*made),
        default_status=dg.DefaultSensorStatus.STOPPED,
        minimum_interval_seconds=SENSOR_SECONDS,
        emit_backfills=False,
        description=f"Runs what a change of {name} affects, and nothing else; off until switched on.",
    )


def study_path() -> Path:
    """The study file that Dagster loads."""
    return Path(os.environ.get(STUDY_VARIABLE) or DEMO_STUDY)


@dg.definitions
def defs() -> dg.Definitions:
    """The code location of the study that `study_path` names."""
    return _definitions_of_file(study_path(), served=True)
