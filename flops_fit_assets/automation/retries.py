"""Runs that Dagster meant to try again and forgot.

Dagster stores a run's failure before the run's status. Its daemon, looking in between, takes the run for one that has
not failed, and never comes back to it (`should_retry` in `dagster/_daemon/auto_run_reexecution`, 1.13.27).
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

import dagster as dg

from flops_fit_assets.source import StudySource

RETRY_OF_TAG = "flops_fit/retry_of"
# Tags that Dagster writes: on a failed run that is to be tried again, on one that was, and on the run that does so.
_WILL_RETRY, _RETRIED_BY, _PARENT = "dagster/will_retry", "dagster/auto_retry_run_id", "dagster/parent_run_id"
_PARTITION = "dagster/partition"
_DAGSTERS_TURN = timedelta(minutes=1)  # Dagster looks every few seconds
_OLD = timedelta(days=1)  # what is older than this was left by somebody who has seen it


def retry_sensor(source: StudySource) -> dg.SensorDefinition:
    """A sensor, on from the beginning, that starts what Dagster forgot to; where Dagster forgets nothing, nothing."""
    name = source.study.name

    @dg.sensor(
        name=f"retries_{name}",
        target=dg.AssetSelection.assets(*source.made),
        minimum_interval_seconds=30,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=f"Starts runs of {name} again whose process died, which run_retries in dagster.yaml promises to "
        "try again, and which Dagster's daemon forgot.",
    )
    def retries(context: dg.SensorEvaluationContext) -> list[dg.RunRequest] | dg.SkipReason:
        found = forgotten_retries(source, context.instance, datetime.now(UTC))
        return found or dg.SkipReason("no run was forgotten")

    return retries


def forgotten_retries(source: StudySource, instance: dg.DagsterInstance, now: datetime) -> list[dg.RunRequest]:
    """One request for each run of the study that failed a minute to a day before `now`, was to be retried, and was not.

    None for what has been materialized since (nothing is done twice, and an older launchpad never undoes a newer plan),
    and none for an experiment that is no longer planned.
    """
    planned = {None, *instance.get_dynamic_partitions(source.partitions.name or "")}
    wanted = dg.RunsFilter(statuses=[dg.DagsterRunStatus.FAILURE], tags={_WILL_RETRY: "true"}, updated_after=now - _OLD)
    return [
        _again(record.dagster_run)
        for record in instance.get_run_records(wanted)
        if _of_study(source, record.dagster_run)
        and record.dagster_run.tags.get(_PARTITION) in planned
        and _forgotten(instance, record, now)
    ]


def still_to_come(instance: dg.DagsterInstance, partitions: Iterable[str]) -> list[str]:
    """Those that train now, or whose process died and which Dagster's daemon starts again."""
    latest = {name: instance.get_runs(dg.RunsFilter(tags={_PARTITION: name}), limit=1) for name in partitions}
    return [
        name for name, runs in latest.items() if any(not run.is_finished or _waits_for_dagster(run) for run in runs)
    ]


def _waits_for_dagster(run: dg.DagsterRun) -> bool:
    """The daemon starts nothing again that it did not launch."""
    return run.is_complete_and_waiting_to_retry and run.remote_job_origin is not None


def _of_study(source: StudySource, run: dg.DagsterRun) -> bool:
    selected = run.asset_selection or frozenset()
    return bool(selected) and selected <= set(source.made)


def _forgotten(instance: dg.DagsterInstance, record: dg.RunRecord, now: datetime) -> bool:
    run, ended = record.dagster_run, record.end_time
    if ended is None or datetime.fromtimestamp(ended, UTC) > now - _DAGSTERS_TURN or _RETRIED_BY in run.tags:
        return False
    children = (dg.RunsFilter(tags={tag: run.run_id}) for tag in (_PARENT, RETRY_OF_TAG))
    return not any(instance.get_runs(child, limit=1) for child in children) and not _done_since(instance, run, ended)


def _done_since(instance: dg.DagsterInstance, run: dg.DagsterRun, ended: float) -> bool:
    partition = run.tags.get(_PARTITION)
    return all(
        instance.fetch_materializations(
            dg.AssetRecordsFilter(
                asset_key=key, asset_partitions=[partition] if partition else None, after_timestamp=ended
            ),
            limit=1,
        ).records
        for key in run.asset_selection or ()
    )


def _again(run: dg.DagsterRun) -> dg.RunRequest:
    return dg.RunRequest(
        run_key=f"retry of {run.run_id}",
        asset_selection=sorted(run.asset_selection or ()),
        partition_key=run.tags.get(_PARTITION),
        run_config=run.run_config,
        tags={RETRY_OF_TAG: run.run_id},
    )
