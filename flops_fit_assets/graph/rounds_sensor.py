"""Notices when a round of an adaptive study, or of trials of its recipe, has ended, so that the next one is planned."""

from __future__ import annotations

from collections.abc import Callable

import dagster as dg

from flops_fit_assets.automation.watch import SENSOR_SECONDS
from flops_fit_assets.freshness.history import latest_observed
from flops_fit_assets.freshness.versions import DATA_VERSION_TAG
from flops_fit_assets.graph.recipe_law import tuning_version
from flops_fit_assets.graph.rounds import settled_version
from flops_fit_assets.source import StudySource


def rounds_sensor(source: StudySource) -> dg.SensorDefinition | None:
    """A sensor, on from the beginning, that observes `study/rounds` and `study/trials`; none for a study that has
    neither."""
    if not _versions(source):
        return None
    name = source.study.name

    @dg.sensor(
        name=f"rounds_{name}",
        minimum_interval_seconds=SENSOR_SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=f"Looks every few seconds whether a round of {name} has ended; automation_{name}, if it is on, "
        "then plans the next round. Starts nothing by itself.",
    )
    def rounds(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        events = rounds_observations(source, context.instance)
        return dg.SensorResult(asset_events=events) if events else dg.SkipReason("no further round has ended")

    return rounds


def rounds_observations(source: StudySource, instance: dg.DagsterInstance) -> list[dg.AssetObservation]:
    """Of `study/rounds` and `study/trials` each that the study has and that is another than it was last seen."""
    found = {source.key("study", part): version_of(source, instance) for part, version_of in _versions(source).items()}
    return [
        dg.AssetObservation(key, tags={DATA_VERSION_TAG: version})
        for key, version in found.items()
        if latest_observed(instance, key) != version
    ]


def _versions(source: StudySource) -> dict[str, Callable[[StudySource, dg.DagsterInstance], str]]:
    rounds = {"rounds": settled_version} if source.study.adaptive else {}
    return {**rounds, **({"trials": tuning_version} if source.study.tuning else {})}
