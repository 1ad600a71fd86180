"""Rounds of an adaptive study in the pipeline: what of them has ended, and the next one, planned once and kept."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import dagster as dg

from flops_fit.adaptive.progress import Progress
from flops_fit.adaptive.rounds import Round, experiments_of, load_rounds, round_path, save_round
from flops_fit.errors import FileError
from flops_fit.identity.fingerprints import content_hash
from flops_fit.results.results import ExperimentResult
from flops_fit.stages import rounds_folder, rounds_plan, study_progress
from flops_fit_assets.freshness.history import latest_made_from
from flops_fit_assets.freshness.versions import law_made_from, version_of
from flops_fit_assets.graph.io_manager import StudyIOManager
from flops_fit_assets.graph.tuned_study import with_recipe
from flops_fit_assets.source import StudySource
from flops_fit_assets.storage.store import StudyStore

if TYPE_CHECKING:
    from flops_fit.scaling_law import ScalingLaw
    from flops_fit.sizes.size_map import SizeMap
    from flops_fit.study.study import Study
    from flops_fit.sweep.experiment import Experiment
    from flops_fit.sweep.sweep_plan import SweepPlan

INTERRUPTED_TAG = "flops_fit/interrupted"  # on a failed run whose process was stopped from outside
TRIES = 2  # of an experiment whose process dies without leaving a result
_PARTITION_TAG = "dagster/partition"
_RECENT_RUNS = 50
ROUNDS = (
    "The rounds of an adaptive study as they ended: changes when every experiment of a round has ended and the law was "
    "fitted to them. sweep_plan then plans the next round, or says why it stops."
)
NOTHING = "no round has ended"


@dataclass(frozen=True, kw_only=True)
class Ended:
    """Of the rounds' experiments: results of any status by id, and the ids of those that ended without one."""

    results: Mapping[str, ExperimentResult]
    lost: frozenset[str]

    def __contains__(self, experiment_id: str) -> bool:
        return experiment_id in self.results or experiment_id in self.lost


def kept_rounds(store: StudyStore, study: Study) -> tuple[Round, ...]:
    """The rounds of the study as it is: those of another model, data, loss or recipe are others."""
    folder = rounds_folder(study, store.directory)
    store.pull_folder(folder)
    return load_rounds(folder)


def ended_experiments(source: StudySource, instance: dg.DagsterInstance, planned: Iterable[Experiment]) -> Ended:
    """What has come of every experiment in `planned` so far; one that is only interrupted has not ended."""
    ids = [item.experiment_id for item in planned]
    results = dict(StudyIOManager(source.store, instance).load_partitions(source.key("training_run"), ids).values)
    left = [name for name in ids if name not in results]
    source.store.pull_results(left)
    lost = set()
    for name in left:
        failures = _failures(source, instance, name)
        result = _failed_result(source.store, name) if failures else None
        if result is not None:
            results[name] = result
        elif failures >= TRIES:
            lost.add(name)
    return Ended(results=results, lost=frozenset(lost))


def _failures(source: StudySource, instance: dg.DagsterInstance, experiment_id: str) -> int:
    """How many runs of this experiment failed of themselves; none while one is under way."""
    runs = instance.get_runs(dg.RunsFilter(tags={_PARTITION_TAG: experiment_id}), limit=20)
    ours = [run for run in runs if source.key("training_run") in (run.asset_selection or ())]
    if any(not run.is_finished for run in ours):
        return 0
    return sum(run.status == dg.DagsterRunStatus.FAILURE and INTERRUPTED_TAG not in run.tags for run in ours)


def _failed_result(store: StudyStore, experiment_id: str) -> ExperimentResult | None:
    try:
        result = store.read_here("training_run", experiment_id)
    except (FileError, FileNotFoundError):
        return None
    return None if result.is_final else result  # a final one that is not materialized was changed


def plan_next_round(
    source: StudySource, study: Study, size_map: SizeMap, instance: dg.DagsterInstance
) -> tuple[SweepPlan, Progress]:
    """The plan with the next round, if one is due, which is kept before it is used; and how far the study has come."""
    store, rounds = source.store, kept_rounds(source.store, study)
    ended = ended_experiments(source, instance, experiments_of(rounds))
    law = _law_of(source, instance, ended) if rounds else None
    progress = study_progress(study, size_map, rounds, ended.results, ended.lost, law)
    if progress.step.planned is not None:
        folder = rounds_folder(study, store.directory)
        store.room_for(round_path(folder, progress.step.planned.number))
        store.push(save_round(folder, progress.step.planned))
        rounds = (*rounds, progress.step.planned)
    return rounds_plan(study, size_map, rounds, warn=True), progress


def rounds_progress(source: StudySource, law: ScalingLaw, instance: dg.DagsterInstance) -> Progress:
    """How far the study has come, whose results `law` was just fitted to."""
    study = with_recipe(source)
    rounds = kept_rounds(source.store, study)
    ended = ended_experiments(source, instance, experiments_of(rounds))
    size_map = source.store.read("size_map")
    return study_progress(study, size_map, rounds, ended.results, ended.lost, law)


def settled_version(source: StudySource, instance: dg.DagsterInstance) -> str:
    """Changes when all experiments of a round have ended and the law was fitted to them: the next round is then due."""
    rounds = kept_rounds(source.store, with_recipe(source))
    ended = ended_experiments(source, instance, experiments_of(rounds))
    settled = [item for item in rounds if all(of.experiment_id in ended for of in item.experiments)]
    if len(settled) == len(rounds) and rounds and not _law_is_settled(source, instance, ended):
        settled = settled[:-1]
    if not settled:
        return NOTHING
    ids = [item.experiment_id for item in experiments_of(settled)]
    outcomes = [version_of(ended.results[name]) if name in ended.results else "lost" for name in ids]
    return content_hash([[item.content_hash for item in settled], outcomes])


def _is_fitted(source: StudySource, instance: dg.DagsterInstance, ended: Ended) -> bool:
    """Whether the last law is of these results."""
    try:
        plan = source.store.read("sweep_plan")
    except (FileError, FileNotFoundError):
        return False
    final = [result for result in ended.results.values() if result.is_final]
    return latest_made_from(instance, source.key("scaling_law")) == law_made_from(version_of(plan), final)


def _law_of(source: StudySource, instance: dg.DagsterInstance, ended: Ended) -> ScalingLaw | None:
    """The law on disk, if it is of these results and was not changed; else whoever needs it fits it."""
    if not _is_fitted(source, instance, ended):
        return None
    try:
        return StudyIOManager(source.store, instance).load(source.key("scaling_law"))
    except FileError:  # its asset says what is wrong with it
        return None


def _law_is_settled(source: StudySource, instance: dg.DagsterInstance, ended: Ended) -> bool:
    """Whether the last law is of these results, or the attempt to fit them failed."""
    if _is_fitted(source, instance, ended):
        return True
    key = source.key("scaling_law")
    stages = {key, source.key("training_run")}
    runs = [run for run in instance.get_runs(limit=_RECENT_RUNS) if stages & set(run.asset_selection or ())]
    return bool(runs) and key in (runs[0].asset_selection or ()) and runs[0].status == dg.DagsterRunStatus.FAILURE
