"""`recipe_law`: trials of the recipe round by round, then the rule that the whole grid is trained by.

Dagster reads the annotations of asset functions, so this module keeps them as objects.
"""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import dagster as dg

from flops_fit.identity.fingerprints import content_hash
from flops_fit.recipe_law.next_round import Tuning, next_tuning
from flops_fit.recipe_law.rounds import TuningRound, load_tuning, save_tuning, trials_of
from flops_fit.stages import study_design, trials_plan, tuning_folder
from flops_fit.study.named_sets import judged
from flops_fit_assets.automation import conditions as automation
from flops_fit_assets.freshness import versions
from flops_fit_assets.graph import checks
from flops_fit_assets.graph.partitions import add_partitions
from flops_fit_assets.graph.rounds import ended_experiments
from flops_fit_assets.graph.stage_asset import stage_asset
from flops_fit_assets.metadata.recipe_law import recipe_law_metadata
from flops_fit_assets.metadata.shared import file_value
from flops_fit_assets.source import StudySource
from flops_fit_assets.storage.store import StudyStore

if TYPE_CHECKING:
    from flops_fit.recipe_law.design import TuningDesign
    from flops_fit.sizes.size_map import SizeMap
    from flops_fit.study.study import Study
    from flops_fit.sweep.experiment import Experiment
    from flops_fit.sweep.sweep_plan import SweepPlan

TUNING = (
    "The trials of the recipe as they ended: changes when every trial of a round has ended. recipe_law then chooses "
    "the next round, or fits the rule."
)


def recipe_law_asset(source: StudySource) -> dg.AssetsDefinition:
    """The rule for what the recipe tunes, from trials that are partitions of `training_run` like any other."""

    @stage_asset(
        source,
        "recipe_law",
        "The best learning rate, batch or other recipe number as a power law of N and D, found by trials at the cheap "
        "end. Until it is found, materializing it chooses the next round of trials, which are partitions of "
        "training_run. Knows no budgets, so changing them tunes nothing again.",
        "scipy",
        ins={"size_map": dg.AssetIn(key=source.key("size_map"))},
        deps=[source.key("study", part) for part in ("sweep", "trials")],
        output_required=False,
        automation_condition=automation.plan_condition(),
    )
    def recipe_law(context: dg.AssetExecutionContext, size_map: Any) -> Iterator[Any]:
        study, store = source.study, source.store
        design, _, now = take_step(source, size_map, context)
        context.log.info(now.reason)
        if now.kind == "failed":
            raise dg.Failure(f"the recipe could not be tuned, so nothing else is trained: {now.reason}")
        judged = checks.recipe_checks(now)
        if now.found is None:
            yield from judged
            return
        trials = tuning_version(source, context.instance)
        yield dg.MaterializeResult(
            value=now.found,
            data_version=dg.DataVersion(versions.version_of(now.found)),
            check_results=judged,
            metadata=recipe_law_metadata(now.found, design, file_value(store, store.path("recipe_law"))),
            tags={versions.MADE_FROM_TAG: versions.recipe_law_made_from(study, versions.version_of(size_map), trials)},
        )

    return recipe_law


def take_step(
    source: StudySource, size_map: "SizeMap", context: dg.AssetExecutionContext
) -> tuple["TuningDesign", tuple[TuningRound, ...], Tuning]:
    """What tuning does next; a new round is kept, and its trials become partitions, before it is used."""
    study, store = source.study, source.store
    design, rounds = kept_tuning(store, study)
    if design is None:
        design = study_design(study, size_map)
    ended = ended_experiments(source, context.instance, trials_of(rounds))
    assert study.tuning is not None
    workers, settle = study.hardware.num_workers(), study.tuning.settle
    now = next_tuning(design, rounds, judged(study, ended.results), ended.lost, workers, settle)
    if now.planned is not None:
        store.push(*save_tuning(tuning_folder(study, store.directory), design, now.planned))
        rounds = (*rounds, now.planned)
    add_partitions(context, source, trials_of(rounds))
    return design, rounds, now


def kept_tuning(store: StudyStore, study: "Study") -> tuple["TuningDesign | None", tuple[TuningRound, ...]]:
    """Design and rounds of the study as it is: those of another model, data, loss, recipe or [tuning] are others."""
    folder = tuning_folder(study, store.directory)
    store.pull_folder(folder)
    return load_tuning(folder)


def kept_trials(store: StudyStore, study: "Study") -> list["Experiment"]:
    """The trials of all rounds; none where nothing is tuned."""
    return [] if study.tuning is None else trials_of(kept_tuning(store, study)[1])


def tuning_version(source: StudySource, instance: dg.DagsterInstance) -> str:
    """Changes when all trials of a round have ended: the next step of tuning is then due."""
    _, rounds = kept_tuning(source.store, source.study)
    ended = ended_experiments(source, instance, trials_of(rounds))
    settled = [item for item in rounds if all(trial.experiment_id in ended for trial in item.experiments)]
    ids = [item.experiment_id for item in trials_of(settled)]
    outcomes = [versions.version_of(ended.results[name]) if name in ended.results else "lost" for name in ids]
    return content_hash([source.study.tuning_fingerprint(), [item.content_hash for item in settled], outcomes])


def planned_in(
    source: StudySource, experiment_id: str, read_plan: Callable[[], "SweepPlan"]
) -> tuple["SweepPlan", "Experiment"]:
    """The experiment of that id with the plan that it is in: that of the trials, or of the sweep."""
    study, store = source.study, source.store
    if study.tuning is not None:
        rounds = kept_tuning(store, study)[1]
        for trial in trials_of(rounds):
            if trial.experiment_id == experiment_id:
                return trials_plan(study, store.read("size_map"), rounds), trial
    plan = read_plan()
    for experiment in plan.trainings:
        if experiment.experiment_id == experiment_id:
            return plan, experiment
    raise dg.Failure(f"{experiment_id} is not in the current plan; materialize sweep_plan, then this")
