"""What Dagster loads: the study named by `FLOPS_FIT_STUDY` (the packaged demo without it).

dagster dev -m flops_fit_assets.definitions
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import dagster as dg

from flops_fit.study.study import Study
from flops_fit.training.log_events import OnLog
from flops_fit_assets.automation.retries import retry_sensor
from flops_fit_assets.automation.schedules import replan_schedule
from flops_fit_assets.automation.watch import SENSOR_SECONDS, watch_sensor
from flops_fit_assets.graph.assets import study_assets
from flops_fit_assets.graph.io_manager import study_io_manager
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

    Args:
        study: a `Study`, or the path of a `study.toml`.
        key_prefix: put before every asset key; give each study its own where several share a code location.
        home: directory for `<study name>/`; default `FLOPS_FIT_HOME`, or `flops_fit_data`.
        storage: directory or URL that fsspec knows, for machines that share no disk: what is in
            `<storage>/<study name>` counts, and `home` holds a working copy; default `FLOPS_FIT_STORAGE`, or none.
    """
    return definitions_of(StudySource.of(study, key_prefix, home, storage))


def definitions_of(source: StudySource, on_log: OnLog | None = None) -> dg.Definitions:
    """`build_study_definitions` of a study that has been read."""
    lighten()
    name = source.study.name
    return dg.Definitions(
        assets=study_assets(source, on_log),
        schedules=[replan_schedule(source)],
        sensors=[
            *([watch] if (watch := watch_sensor(source)) else []),
            retry_sensor(source),
            *([rounds] if (rounds := rounds_sensor(source)) else []),
            dg.AutomationConditionSensorDefinition(
                f"automation_{name}",
                target=dg.AssetSelection.assets(*source.made),
                default_status=dg.DefaultSensorStatus.STOPPED,
                minimum_interval_seconds=SENSOR_SECONDS,
                emit_backfills=False,
                description=f"Runs what a change of {name} affects, and nothing else; off until switched on.",
            ),
        ],
        resources={source.resource_key: study_io_manager(source)},
        executor=dg.in_process_executor,
    )


def study_path() -> Path:
    """The study file that Dagster loads."""
    return Path(os.environ.get(STUDY_VARIABLE) or DEMO_STUDY)


@dg.definitions
def defs() -> dg.Definitions:
    """The code location of the study that `study_path` names."""
    return build_study_definitions(study_path())
