"""The experiments of the current plan as partitions, each announced once as a materialization of `experiment`."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import dagster as dg

from flops_fit.sweep.experiment import Experiment
from flops_fit.sweep.sweep_plan import SweepPlan
from flops_fit_assets.freshness.versions import DATA_VERSION_TAG, version_of
from flops_fit_assets.graph.batch_events import log_materializations
from flops_fit_assets.metadata.training_run import experiment_metadata
from flops_fit_assets.source import StudySource


def experiment_spec(source: StudySource) -> dg.AssetSpec:
    """`experiment`: what a training follows from, so that planning again makes no trained partition stale."""
    return dg.AssetSpec(
        source.key("experiment"),
        deps=[source.key("sweep_plan")],
        partitions_def=source.partitions,
        description="The planned experiments, one partition each. sweep_plan announces them; nothing is computed here.",
        group_name=source.study.name,
        kinds={"table"},
        owners=source.study.owners,
    )


def announce(
    context: dg.AssetExecutionContext, source: StudySource, plan: SweepPlan, kept: Collection[Experiment] = ()
) -> None:
    """Make the partition set equal to the ids of the plan and of `kept`, as `add_partitions`; the others go."""
    name, instance = source.partitions.name or "", context.instance
    wanted = {experiment.experiment_id for experiment in (*plan.trainings, *kept)}
    for gone in set(instance.get_dynamic_partitions(name)) - wanted:
        instance.delete_dynamic_partition(name, gone)
    add_partitions(context, source, plan.trainings)


def add_partitions(context: dg.AssetExecutionContext, source: StudySource, experiments: Sequence[Experiment]) -> None:
    """Have a partition for each of `experiments`, and log one materialization for each that never had one."""
    context.instance.add_dynamic_partitions(
        source.partitions.name or "", [experiment.experiment_id for experiment in experiments]
    )
    known = context.instance.get_materialized_partitions(source.key("experiment"))
    new = [experiment for experiment in experiments if experiment.experiment_id not in known]
    log_materializations(context, [_materialization(source, experiment) for experiment in new])


def _materialization(source: StudySource, experiment: Experiment) -> dg.AssetMaterialization:
    return dg.AssetMaterialization(
        source.key("experiment"),
        partition=experiment.experiment_id,
        metadata=experiment_metadata(experiment, source.store),
        tags={DATA_VERSION_TAG: version_of(experiment)},
    )
