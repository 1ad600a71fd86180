"""Notices when a round of an adaptive study has ended, so that the next one is planned."""

from __future__ import annotations

import dagster as dg

from flops_fit_assets.automation.watch import SENSOR_SECONDS
from flops_fit_assets.freshness.history import latest_observed
from flops_fit_assets.freshness.versions import DATA_VERSION_TAG
from flops_fit_assets.graph.rounds import settled_version
from flops_fit_assets.source import StudySource


def rounds_sensor(source: StudySource) -> dg.SensorDefinition | None:
    """A sensor, on from the beginning, that observes `study/rounds`; none for a study with a grid."""
    if source.study.adaptive is None:
        return None
    name = source.study.name

    @dg.sensor(
        name=f"rounds_{name}",
        minimum_interval_seconds=SENSOR_SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=f"Looks every few seconds whether a round of {name} has ended and the law was fitted to it; "
        f"automation_{name}, if it is on, then plans the next round. Starts nothing by itself.",
    )
    def rounds(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        key, version = source.key("study", "rounds"), settled_version(source, context.instance)
        if latest_observed(context.instance, key) == version:
            return dg.SkipReason("no further round has ended")
        return dg.SensorResult(asset_events=[dg.AssetObservation(key, tags={DATA_VERSION_TAG: version})])

    return rounds
