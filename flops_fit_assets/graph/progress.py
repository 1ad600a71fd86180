"""`study/progress`: how far a study is at any time, said of an external asset on which nothing depends.

An observation of `sweep_plan` would not do: Dagster's page of an asset that is materialized shows only what that said,
and its lineage shows of no asset what was observed. To materialize `sweep_plan` without planning would count as having
handled an edit that nobody has handled yet.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import dagster as dg

from flops_fit.cost.spending import spending
from flops_fit.errors import FileError
from flops_fit.identity.fingerprints import content_hash
from flops_fit.results.results import ExperimentResult
from flops_fit.stages import study_cost
from flops_fit.sweep.sweep_plan import SweepPlan
from flops_fit_assets.freshness.history import latest_materialization, unfinished_runs
from flops_fit_assets.freshness.settings import CHANGE
from flops_fit_assets.graph.failures import left_by_failures
from flops_fit_assets.graph.io_manager import StudyIOManager
from flops_fit_assets.metadata.progress import last_trained, page_link, progress_metadata
from flops_fit_assets.metadata.sweep_plan import state_text
from flops_fit_assets.source import StudySource

STAMP_TAG = "flops_fit/progress_of"
PROGRESS_SECONDS = 10
_STAGES = ("sweep_plan", "training_run", "scaling_law")
_RECENT = 60  # materializations that are looked through for the trainings that ended last


def progress_key(source: StudySource) -> dg.AssetKey:
    """The key of `study/progress`."""
    return source.key("study", "progress")


def progress_spec(source: StudySource) -> dg.AssetSpec:
    """The asset that shows how far the study is; no run makes it, and nothing depends on it."""
    return dg.AssetSpec(
        progress_key(source),
        deps=[source.key(stage) for stage in _STAGES],
        description="How far the study is, what is left and was spent, and what came out: said anew whenever "
        "trainings or a fit have ended. Nothing depends on it, so it starts nothing.",
        group_name=source.study.name,
        kinds={"dashboard"},
        owners=source.study.owners,
    )


def progress_sensor(source: StudySource) -> dg.SensorDefinition:
    """A sensor, on from the beginning, that says on `study/progress` how far the study is when something has ended."""
    name = source.study.name

    @dg.sensor(
        name=f"progress_{name}",
        minimum_interval_seconds=PROGRESS_SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=f"Looks every few seconds whether a plan, a training or a fit of {name} has ended, and says on "
        "the page of study/progress how far it is. Starts nothing.",
    )
    def progress(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        found = new_progress(source, context.instance)
        if found is None:
            return dg.SkipReason("nothing has ended since the last look")
        event, said = found
        return dg.SensorResult(asset_events=[event], skip_reason=said)

    return progress


def new_progress(source: StudySource, instance: dg.DagsterInstance) -> tuple[dg.AssetMaterialization, str] | None:
    """How far the study is, as an event of `study/progress`, and in a line; None where that was said already."""
    key, stamp = progress_key(source), _stamp(source, instance)
    last = latest_materialization(instance, key)
    if last is not None and (last.tags or {}).get(STAMP_TAG) == stamp:
        return None
    shown, said = _shown(source, instance)
    return dg.AssetMaterialization(key, metadata=shown, tags={STAMP_TAG: stamp}), said


def say_progress(source: StudySource, instance: dg.DagsterInstance) -> None:
    """Say how far the study is, if that is new: for who runs it without Dagster's daemon."""
    if found := new_progress(source, instance):
        instance.report_runless_asset_event(found[0])


def _shown(source: StudySource, instance: dg.DagsterInstance) -> tuple[dict[str, Any], str]:
    try:
        plan: SweepPlan = source.store.read("sweep_plan")
    except (FileNotFoundError, FileError):  # in the second case sweep_plan says what is wrong with it
        said = "nothing is planned yet"
        here = page_link(source.key("sweep_plan"), "sweep_plan")
        return {"trained": said, "begin": dg.MetadataValue.md(f"materialize {here}, then training_run")}, said
    results = _results(source, instance, plan)
    finished = [result for result in results.values() if result.is_final]
    cost = study_cost(source.study, plan, finished, source.directory)
    spent = spending(plan, cost, results, source.study.hardware)
    law = latest_materialization(instance, source.key("scaling_law"))
    more = _more(source, instance, results)
    failed = any(not result.is_final for result in results.values())
    runs = unfinished_runs(instance, source.key("training_run")) if failed else {}
    shown = progress_metadata(plan, cost, spent, results, law.metadata if law else {}, more, runs)
    return shown, state_text(plan, spent)


def _stamp(source: StudySource, instance: dg.DagsterInstance) -> str:
    """Changes with whatever the progress follows from: plans, trainings and fits that ended, runs that failed."""
    newest = [instance.fetch_materializations(source.key(stage), limit=1).records for stage in _STAGES]
    failed = instance.get_run_records(dg.RunsFilter(statuses=[dg.DagsterRunStatus.FAILURE]), limit=1)
    ids = [records[0].storage_id if records else 0 for records in newest]
    return content_hash([ids, [record.dagster_run.run_id for record in failed]])[:32]


def _results(source: StudySource, instance: dg.DagsterInstance, plan: SweepPlan) -> dict[str, ExperimentResult]:
    """Results of any status: those that were materialized, and what failed trainings left of themselves."""
    names = [item.experiment_id for item in plan.trainings]
    results = dict(StudyIOManager(source.store, instance).load_partitions(source.key("training_run"), names).values)
    return results | left_by_failures(source.store, [name for name in names if name not in results])


def _more(source: StudySource, instance: dg.DagsterInstance, results: Mapping[str, ExperimentResult]) -> dict[str, Any]:
    """What the plan was made again for, the trainings that ended last, and where to read on."""
    plan = latest_materialization(instance, source.key("sweep_plan"))
    changed = plan.metadata.get(CHANGE) if plan else None
    recent = instance.fetch_materializations(source.key("training_run"), limit=_RECENT).records
    names = dict.fromkeys(record.partition_key for record in recent if record.partition_key)
    links = [page_link(source.key(stage), stage) for stage in _STAGES]
    trainings = f"[trainings one by one](/assets/{'/'.join(source.key('training_run').path)}?view=partitions)"
    return {
        **({"last change": changed} if changed else {}),
        **last_trained(source.store, results, names),
        "read on": dg.MetadataValue.md(" · ".join([*links, trainings])),
    }
