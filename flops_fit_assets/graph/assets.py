"""The assets of a study: each loads, calls one library function, and returns the value with its metadata.

Dagster reads the annotations of asset functions, so this module keeps them as objects.
"""

import contextlib
import dataclasses
import warnings
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import dagster as dg

from flops_fit.all_measured import with_all_measured
from flops_fit.cost.devices import refuse_devices
from flops_fit.cost.spending import over_limit, spending
from flops_fit.errors import StudyError
from flops_fit.extension import with_what_is_next
from flops_fit.recipe_law.tuned_recipe import TunedRecipe
from flops_fit.results.results import ExperimentResult
from flops_fit.sizes.size_map import SizeMap
from flops_fit.stages import study_cost, study_plan, study_size_map
from flops_fit.study.study import Study
from flops_fit.study_law import fit_study
from flops_fit.sweep.enough import empty_budgets
from flops_fit.sweep.sweep_plan import SweepPlan
from flops_fit.training.log_events import OnLog
from flops_fit.training.run_log import first_loss
from flops_fit_assets.automation import conditions as automation
from flops_fit_assets.freshness import versions
from flops_fit_assets.freshness.changed_results import set_aside_if_changed
from flops_fit_assets.freshness.fingerprints import PARTS, fingerprints
from flops_fit_assets.freshness.observations import plan_change
from flops_fit_assets.graph import checks
from flops_fit_assets.graph.centring import centred_metadata, centres_of, expected_ratios
from flops_fit_assets.graph.failures import missing_metadata
from flops_fit_assets.graph.io_manager import StudyIOManager
from flops_fit_assets.graph.partitions import announce, experiment_spec
from flops_fit_assets.graph.plan_config import overrides_in, plan_config_schema
from flops_fit_assets.graph.progress import progress_key, progress_spec
from flops_fit_assets.graph.recipe_law import (
    TUNING,
    kept_trials,
    planned_in,
    recipe_law_asset,
    tuning_version,
)
from flops_fit_assets.graph.rounds import ROUNDS, plan_next_round, rounds_progress, settled_version
from flops_fit_assets.graph.stage_asset import stage_asset
from flops_fit_assets.graph.step_failures import naming_what_is_to_come
from flops_fit_assets.graph.train_here import train_here
from flops_fit_assets.graph.tuned_study import with_recipe
from flops_fit_assets.instance.home import TRAINING_POOL
from flops_fit_assets.metadata.forecasts import study_calibration
from flops_fit_assets.metadata.progress import page_link
from flops_fit_assets.metadata.published_files import publish
from flops_fit_assets.metadata.rounds import rounds_metadata
from flops_fit_assets.metadata.scaling_law import law_metadata
from flops_fit_assets.metadata.shared import file_value
from flops_fit_assets.metadata.size_map import size_map_metadata
from flops_fit_assets.metadata.study_figures import study_figures
from flops_fit_assets.metadata.sweep_plan import limits_text, plan_metadata, recipe_metadata
from flops_fit_assets.metadata.training_run import run_metadata, trunk_metadata
from flops_fit_assets.metadata.trunks import trunks_metadata
from flops_fit_assets.source import StudySource

if TYPE_CHECKING:
    from flops_fit.scaling_law import ScalingLaw


def study_assets(source: StudySource, on_log: OnLog | None = None) -> list[Any]:
    """Sources, assets and the external `experiment` of one study.

    `on_log` gets the progress of trainings in this process; without it they write to the run's log.
    """
    return [
        *study_sources(source),
        size_map_asset(source),
        *([recipe_law_asset(source)] if source.study.tuning else []),
        sweep_plan_asset(source),
        experiment_spec(source),
        training_run_asset(source, on_log),
        scaling_law_asset(source),
        progress_spec(source),
    ]


def study_sources(source: StudySource) -> list[Any]:
    """`study/model` and `study/sweep`: the two parts of a study, observed by their fingerprints. An adaptive study has
    `study/rounds` too, which changes when the next round is due, one that tunes its recipe `study/trials`."""

    def observe(part: str, description: str, version: Callable[..., dg.DataVersion]) -> Any:
        decorate = dg.observable_source_asset(
            key=source.key("study", part),
            description=description,
            group_name=source.study.name,
            io_manager_key=source.resource_key,  # not Dagster's own, which would pickle
        )
        return decorate(version)

    def fingerprint(part: str) -> Callable[[], dg.DataVersion]:
        return lambda: dg.DataVersion(fingerprints(source.study)[part])

    def settled(context: Any) -> dg.DataVersion:
        return dg.DataVersion(settled_version(source, context.instance))

    def trials(context: Any) -> dg.DataVersion:
        return dg.DataVersion(tuning_version(source, context.instance))

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", dg.BetaWarning)  # observable sources; the version is bounded below 1.14
        parts = [observe(part, description, fingerprint(part)) for part, description in PARTS.items()]
        rounds = [observe("rounds", ROUNDS, settled)] if source.study.adaptive else []
        tuning = [observe("trials", TUNING, trials)] if source.study.tuning else []
        return [*parts, *rounds, *tuning]


def size_map_asset(source: StudySource) -> dg.AssetsDefinition:
    """Size → parameters and FLOPs per token; follows from the model alone."""

    @stage_asset(
        source,
        "size_map",
        "Size → parameters and FLOPs per token, found without training anything. "
        "Knows no budgets, so changing them never probes again.",
        "pytorch",
        deps=[source.key("study", "model")],
        automation_condition=automation.plan_condition(),
    )
    def size_map(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
        made = study_size_map(source.study)
        return dg.MaterializeResult(
            value=made,
            data_version=dg.DataVersion(versions.version_of(made)),
            metadata=size_map_metadata(made, file_value(source.store, source.store.path("size_map"))),
            check_results=checks.size_map_checks(made),
            tags={versions.MADE_FROM_TAG: versions.size_map_made_from(source.study)},
        )

    return size_map


def sweep_plan_asset(source: StudySource) -> dg.AssetsDefinition:
    """The IsoFLOP grid, which also decides the partitions of what follows."""
    stages = ["size_map", *(["recipe_law"] if source.study.tuning else [])]

    @stage_asset(
        source,
        "sweep_plan",
        "For every compute budget, which sizes to train on how many tokens. "
        "Materialize it after changing budgets: only experiments that are new get trained. How far they are is on the "
        "page of study/progress.",
        "table",
        ins={stage: dg.AssetIn(key=source.key(stage)) for stage in stages},
        deps=[source.key("study", part) for part in ("sweep", *(["rounds"] if source.study.adaptive else []))],
        config_schema=plan_config_schema(source.study),
        automation_condition=automation.plan_condition(source.key("recipe_law") if source.study.tuning else None),
    )
    def sweep_plan(context: dg.AssetExecutionContext, size_map: SizeMap, **tuned: TunedRecipe) -> dg.MaterializeResult:
        study, store, recipe_law = source.study, source.store, tuned.get("recipe_law")
        if recipe_law is not None:
            study = study.with_tuned_recipe(recipe_law)
        overrides = overrides_in(context.op_execution_context.op_config, study)
        centres, progress = None, None
        if study.adaptive is not None:
            asked = _asked(study, overrides)
            plan, progress = plan_next_round(source, asked, size_map, context.instance)
        else:
            centres = centres_of(store, study, size_map, overrides)
            plan = study_plan(study, size_map, overrides=overrides, centre=centres)
            if empty := empty_budgets(plan.by_budget(), plan.notes):
                raise StudyError(f"{empty}; the plan that was there stands")
            if centres is not None:
                store.push(centres.save(store))
        now = dg.MetadataValue.md(page_link(progress_key(source), "how far it is now"))
        about = {"now": now} | plan_change(source, context.instance, plan)
        announce(context, source, plan, kept=kept_trials(store, study))
        settled = settled_version(source, context.instance) if study.adaptive else ""
        found = "" if recipe_law is None else versions.version_of(recipe_law)
        made_from = versions.plan_made_from(study, versions.version_of(size_map), settled, found)
        results = _results(context, source, plan)
        cost = study_cost(study, plan, results.values(), store.directory)
        spent = spending(plan, cost, results, study.hardware)
        shown = plan_metadata(plan, cost, spent, results, file_value(store, store.path("sweep_plan")), overrides, about)
        return dg.MaterializeResult(
            value=plan,
            data_version=dg.DataVersion(versions.version_of(plan)),
            metadata=rounds_metadata(progress, store)
            | shown
            | recipe_metadata(study, plan)
            | trunks_metadata(plan, cost)
            | centred_metadata(centres, plan),
            check_results=checks.plan_checks(
                plan,
                expected_ratios(plan, centres, overrides.get("tokens_per_param", study.sweep.tokens_per_param)),
                over_limit(spent, study.hardware),
                limits_text(spent, study.hardware),
                progress,
            ),
            tags={versions.MADE_FROM_TAG: made_from},
        )

    return sweep_plan


def training_run_asset(source: StudySource, on_log: OnLog | None) -> dg.AssetsDefinition:
    """One training for each experiment of the plan."""

    @stage_asset(
        source,
        "training_run",
        "One training: exactly the planned tokens, resumed where it was interrupted, ending with a held-out loss.",
        "pytorch",
        deps=[source.key("experiment")],
        partitions_def=source.partitions,
        pool=TRAINING_POOL,
        automation_condition=automation.training_condition(source.key("sweep_plan")),
    )
    def training_run(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
        study, store = source.study, source.store
        files = StudyIOManager(store, context.instance)
        plan, experiment = planned_in(source, context.partition_key, lambda: files.load(source.key("sweep_plan")))
        report = on_log or _LogProgress(context)
        cost = study_cost(study, plan, directory=store.directory)
        refuse_devices(study.hardware, cost.too_large)
        held = store.training(experiment.experiment_id, context.log.warning), store.trunk(experiment.trunk)
        with held[0], held[1]:
            set_aside_if_changed(context, source, experiment)
            study.refuse_unless_planned(experiment.outcome_fingerprint, plan.made_from)
            result = train_here(source, cost, experiment, on_log=report, siblings=plan.trainings)
        cost = study_cost(study, plan, [result], store.directory, learn=False)  # by its own part, in whatever order
        path = store.path("training_run", experiment.experiment_id)
        metadata = run_metadata(experiment, result, cost.seconds[experiment.experiment_id], study.hardware, store)
        metadata |= trunk_metadata(study, experiment, result)
        if not result.is_final:
            raise dg.Failure(result.reason, metadata=metadata, allow_retries=False)
        return dg.MaterializeResult(
            value=result,
            data_version=dg.DataVersion(versions.version_of(result)),
            metadata=metadata,
            check_results=checks.run_checks(experiment, result, first_loss(path.parent)),
            tags={versions.MADE_FROM_TAG: versions.training_made_from(experiment)},
        )

    return training_run


def scaling_law_asset(source: StudySource) -> dg.AssetsDefinition:
    """The law of all results that belong to the current plan."""

    @stage_asset(
        source,
        "scaling_law",
        "The scaling law of the current plan's results: optimal model and data "
        "size at any compute, with intervals, findings and figures.",
        "scipy",
        ins={
            "sweep_plan": dg.AssetIn(key=source.key("sweep_plan")),
            "training_run": dg.AssetIn(key=source.key("training_run"), metadata={"allow_missing_partitions": True}),
        },
        code_version=f"{versions.CODE_VERSION}.{versions.FIT_VERSION}",  # the pages call a law of an earlier one stale
        automation_condition=automation.law_condition(source.key("training_run")),
    )
    def scaling_law(
        context: dg.AssetExecutionContext, sweep_plan: SweepPlan, training_run: dict
    ) -> dg.MaterializeResult:
        wanted, every = ([item.experiment_id for item in of] for of in (sweep_plan.experiments, sweep_plan.trainings))
        results: dict[str, ExperimentResult] = {name: training_run[name] for name in every if name in training_run}
        missing = [name for name in wanted if name not in results]
        with naming_what_is_to_come(context.instance, missing):
            law: ScalingLaw = fit_study(source.study, sweep_plan, list(results.values()))
        law = with_all_measured(source.study, sweep_plan, results.values(), law)
        store = source.store
        with contextlib.suppress(FileNotFoundError):  # a plan that was brought here without its sizes
            size_map = store.read("size_map")
            law = with_what_is_next(with_recipe(source), size_map, sweep_plan, results.values(), law)
        figures = study_figures(store, source.study, sweep_plan, law, results)
        forecasts = study_calibration(store, law)
        progress = rounds_progress(source, law, context.instance) if source.study.adaptive else None
        publish(store, source.study, sweep_plan, law, results, figures, forecasts, progress)
        made_from = versions.law_made_from(versions.version_of(sweep_plan), results.values())
        return dg.MaterializeResult(
            value=law,
            data_version=dg.DataVersion(versions.version_of(law)),
            metadata=rounds_metadata(progress, store)
            | law_metadata(law, source.study, sweep_plan, results, store, figures, forecasts)
            | missing_metadata(source, context.instance, missing),
            check_results=checks.law_checks(law, missing),
            tags={versions.MADE_FROM_TAG: made_from},
        )

    return scaling_law


def _asked(study: Study, overrides: Mapping[str, Any]) -> Study:
    """An adaptive study with other wishes, of the same recipe."""
    assert study.adaptive is not None
    asked = dataclasses.replace(study, adaptive=dataclasses.replace(study.adaptive, **overrides))
    return asked if study.tuned_recipe is None else asked.with_tuned_recipe(study.tuned_recipe)


class _LogProgress:
    """Writes a line to the run's log at every tenth of a training."""

    def __init__(self, context: dg.AssetExecutionContext) -> None:
        self._context, self._tenth = context, 0

    def __call__(self, event: dict[str, Any]) -> None:
        tenth = int(10 * event["tokens"] / event["num_tokens"])
        if tenth > self._tenth and "loss" in event:
            self._tenth = tenth
            self._context.log.info(
                f"{10 * tenth} %: step {event['step']} of {event['steps']}, loss {event['loss']:.4f}, "
                f"{event['tokens_per_second']:,.0f} tokens/s"
            )


def _results(context: dg.AssetExecutionContext, source: StudySource, plan: SweepPlan) -> Mapping[str, ExperimentResult]:
    manager = StudyIOManager(source.store, context.instance)
    return manager.load_partitions(source.key("training_run"), [item.experiment_id for item in plan.trainings]).values
