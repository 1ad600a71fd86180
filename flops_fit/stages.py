"""The stages of a study as functions of it: size map, plan, law."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flops_fit.adaptive.next_round import Situation, answer_of, next_step
from flops_fit.adaptive.progress import Progress
from flops_fit.adaptive.rounds import Round, experiments_of
from flops_fit.adaptive.spent import amount_spent
from flops_fit.basics.random_state import isolated_random_state
from flops_fit.cost.devices import usable_devices
from flops_fit.cost.estimate import CostEstimate, estimate
from flops_fit.cost.step_seconds import StepSeconds
from flops_fit.errors import FitError, FlopsFitWarning, StudyError
from flops_fit.identity.fingerprints import content_hash
from flops_fit.processes.alive import users_code
from flops_fit.rate_check.planned import checks_of, cost_text
from flops_fit.recipe.recipe import doubts
from flops_fit.recipe.trunk import sharing_notes
from flops_fit.recipe.trunk_states import kept_states
from flops_fit.recipe_law.design import DEAR, LEVELS, SIZES, SPAN, TuningDesign, make_design, trial_budgets
from flops_fit.recipe_law.rounds import TuningRound, trials_of
from flops_fit.results.results import ExperimentResult
from flops_fit.sizes.size_map import SizeMap, size_map_of
from flops_fit.study.evaluation import study_evaluation
from flops_fit.study.named_sets import held_out_note
from flops_fit.study.sections import SweepOptions
from flops_fit.study.study import Study
from flops_fit.study_law import fit_study
from flops_fit.sweep.experiment import Experiment, with_values
from flops_fit.sweep.reasons import remarks_on
from flops_fit.sweep.sweep_plan import SweepPlan, plan_from_size_map

if TYPE_CHECKING:
    from flops_fit.recipe_law.tuned_recipe import TunedRecipe
    from flops_fit.scaling_law import ScalingLaw


_SAMPLE_EXAMPLES = 4
SIZES_TO_CHOOSE_FROM = 25  # at each budget of an adaptive study,
SPAN_TO_CHOOSE_FROM = 30.0  # which reach so far around its prior optimum: a prior may well be off by ten


@users_code("its sizes are probed")
def study_size_map(study: Study) -> SizeMap:
    """Stage one: size → parameters and FLOPs per token. Knows no budgets."""
    _ = study.identity  # before any of its code has run
    data, sample = study.prepared_data, {}
    if data is not None and study.loss_function is not None:
        # measured also where 6·N is used, to tell how far it is off
        with isolated_random_state():
            batch = data.sample(_SAMPLE_EXAMPLES)
        sample = {
            "sample_batch": batch,
            "loss_fn": study.loss_function,
            "tokens_per_example": data.tokens_per_example,
        }
    elif study.model.flops == "measured":
        raise StudyError('flops = "measured" needs the study\'s data and loss; give both, or flops = "6nd"')
    return size_map_of(study.model.request(**sample))


@users_code("its sweep is planned")
def study_plan(
    study: Study, size_map: SizeMap, *, overrides: Mapping[str, Any] | None = None, centre: Any = None
) -> SweepPlan:
    """Stage two: the IsoFLOP grid. `overrides` replace options of `study.sweep` by name, such as `compute_budgets`.

    `centre` as in `flops_fit.sweep.options.GridOptions`.

    Warns where the recipe follows a published rule (`flops_fit.recipe.published_rules`) outside its range, and where it
    is still to be tuned. Of a study that knows its `tuned_recipe`, each experiment has its own values and their id.
    The checks of the learning rate, where it has them, are in `SweepPlan.checks`.
    """
    given = {item.name: getattr(study.sweep, item.name) for item in dataclasses.fields(study.sweep)}
    sweep = SweepOptions(**given | dict(overrides or {}))
    data, outcome, rule = study.prepared_data, study.outcome_fingerprint(), study.tuned_recipe
    how = {
        **sweep.grid() | _once_through(study, sweep) | ({"shared_sizes": True} if study.training.share_trunk else {}),
        "centre": centre,
        "dataset_tokens": data.num_tokens if data else None,
        "tokens_per_example": data.tokens_per_example if data else 1,
        "identity": outcome,
        "model_kwargs": study.model.kwargs,
    }
    plan = plan_from_size_map(size_map, sweep.compute_budgets, **how)
    found = (*_recipe_doubts(study, size_map, plan.experiments), *_still_to_tune(study))
    for doubt in found:
        warnings.warn(doubt, FlopsFitWarning, stacklevel=2)
    targets = tuple(float(target) for target in sweep.target_budgets)
    planned = dataclasses.replace(
        plan,
        experiments=[_with_own_recipe(rule, outcome, item) for item in plan.experiments],
        notes=(*plan.notes, *found, *_how_counted(study), *_shared(study, plan, size_map, how)),
        target_budgets=targets,
        made_from=study.outcome_parts(),
    )
    return planned if study.tuning is not None and rule is None else _with_checks(study, planned)


def _once_through(study: Study, sweep: SweepOptions) -> dict[str, Any]:
    """The limit on epochs where the data is a stream that said how long it is: it cannot be seen again."""
    stream = study.data is not None and study.data.stream_tokens is not None
    return {"max_epochs": min(1.0, sweep.max_epochs), "stream": True} if stream else {}


def _shared(study: Study, plan: SweepPlan, size_map: SizeMap, how: Mapping[str, Any]) -> list[str]:
    """What sharing trunks saves a plan that was made as `how` says, and what it would save other budgets."""

    def plan_of(budgets: Sequence[float]) -> Sequence[Experiment]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FlopsFitWarning)
            return plan_from_size_map(size_map, budgets, **how).experiments

    return sharing_notes(study.training, plan.experiments, how["tokens_per_example"], plan_of)


def _with_checks(study: Study, plan: SweepPlan) -> SweepPlan:
    """The plan with the checks of its learning rate, if it has any, and what they cost as a note."""
    asked = study.checks_learning_rate
    if not asked or not plan.experiments:
        return plan
    named = None if isinstance(asked, bool) else asked
    checks = checks_of(plan.experiments, study.training.peak_learning_rate, named)
    return dataclasses.replace(plan, checks=checks, notes=(*plan.notes, cost_text(checks, plan.experiments)))


def _how_counted(study: Study) -> list[str]:
    """What to say of how tokens are counted, where not every position of an example is one."""
    note = study.prepared_data.tokens.note if study.prepared_data else None
    return list(filter(None, [note, held_out_note(study)]))


def _with_own_recipe(rule: TunedRecipe | None, outcome: str, experiment: Experiment) -> Experiment:
    ours = dataclasses.replace(experiment, outcome_fingerprint=outcome)
    return ours if rule is None else with_values(ours, rule.values(ours.num_params, ours.num_tokens))


def _still_to_tune(study: Study) -> list[str]:
    """What to say of a plan made before its recipe is known."""
    if study.tuning is None or study.tuned_recipe is not None:
        return []
    names = " and ".join(study.training.tuned)
    return [
        f"{names} will be tuned first, by at most {study.tuning.trainings} trials that take at most "
        f"{study.tuning.share:.0%} of these FLOPs; the experiments' ids follow from what is found"
    ]


def _recipe_doubts(study: Study, size_map: SizeMap, experiments: Sequence[Experiment]) -> tuple[str, ...]:
    embedded = any(entry.non_embedding_params not in (None, entry.num_params) for entry in size_map.entries)
    return () if study.trainer else tuple(doubts(study.training, experiments, counts_embeddings=embedded))


def tuning_folder(study: Study, directory: Path) -> Path:
    """Where the trials of a study in `directory` are kept: another one for another model, data, loss, recipe or
    [tuning], the same whatever its budgets are."""
    return directory / "tuning" / study.tuning_fingerprint()[:16]


def study_grid(study: Study, size_map: SizeMap) -> SweepPlan:
    """`study_plan` to look at before anything is spent; what speaks against it is said when it is planned."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FlopsFitWarning)
        return study_plan(study, size_map)


def study_design(study: Study, size_map: SizeMap) -> TuningDesign:
    """What the trials of a study that tunes its recipe are chosen from."""
    assert study.tuning is not None
    grid = study_grid(study, size_map)
    if not grid.experiments:
        raise StudyError(f"there is nothing to tune the recipe for: {grid.too_few}")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FlopsFitWarning)  # of the grid, which is planned and said after tuning
        total = study.adaptive.total_compute if study.adaptive else grid.total_flops
        assert total is not None
        few = {"num_sizes_per_budget": SIZES, "span": SPAN, "seeds": study.sweep.seeds[:1]}
        flops = study.tuning.share * float(total)
        cells, dear = (
            study_plan(study, size_map, overrides={**few, "compute_budgets": trial_budgets(flops, levels)}).experiments
            for levels in (LEVELS, DEAR)
        )
    data = study.prepared_data
    tokens = data.tokens_per_example if data else 1
    return make_design(
        study.training,
        study.tuning,
        cells,
        grid.experiments,
        tokens_per_example=tokens,
        study_flops=float(total),
        tuned_for=study.tuning_fingerprint(),
        dear=[item for item in dear if item.planned_flops <= max(one.planned_flops for one in grid.experiments)],
    )


def plan_to_look_at(study: Study, size_map: SizeMap, *, centre: Any = None) -> SweepPlan:
    """`study_plan`; where the recipe is still to be tuned, with the values that tuning starts from, as nothing has a
    step or a size in memory without. These experiments are never trained."""
    plan = study_plan(study, size_map, centre=centre)
    if study.tuning is None or study.tuned_recipe is not None:
        return plan
    start = {item.name: item.guess for item in study_design(study, size_map).tuned}
    known = dataclasses.replace(plan, experiments=[with_values(item, start) for item in plan.experiments])
    return _with_checks(study, known)


def trials_plan(study: Study, size_map: SizeMap, rounds: Sequence[TuningRound]) -> SweepPlan:
    """The trials of all `rounds` as a plan."""
    return _plan_of(study, size_map, trials_of(rounds))


def _plan_of(study: Study, size_map: SizeMap, experiments: Sequence[Experiment], **more: Any) -> SweepPlan:
    """A plan of `experiments` that were chosen one by one, with `more` of its fields."""
    budgets = sorted({item.compute_budget for item in experiments})
    return SweepPlan(
        experiments=list(experiments),
        model_cls_name=size_map.model_name,
        size_param=size_map.size_param,
        compute_budgets=budgets or [float(budget) for budget in study.sweep.compute_budgets],
        model_kwargs=dict(study.model.kwargs),
        param_count=size_map.param_count,
        flops_method=size_map.flops_method,
        data_unit=size_map.data_unit,
        made_from=study.outcome_parts(),
        **more,
    )


def study_cost(
    study: Study,
    plan: SweepPlan,
    results: Iterable[ExperimentResult] = (),
    directory: Path | None = None,
    timed: StepSeconds | None = None,
    learn: bool = True,
) -> CostEstimate:
    """What `plan` costs, by the study's finished `results` (if `learn`), else by the first steps that were `timed` (in
    `directory`), else by a guess from its hardware, its FLOPs and its steps; less what of shared trunks is there."""
    data = study.prepared_data
    found = estimate(
        plan,
        study.hardware,
        results,
        recipe=None if study.trainer else study.training,
        tokens_per_example=data.tokens_per_example if data else 1,
        timed=timed or (StepSeconds.load(directory, study.outcome_fingerprint()) if directory else None),
        evaluation=study_evaluation(study),
        learn=learn,
        kept=kept_states(directory / "runs") if directory and study.training.share_trunk else None,
    )
    if study.slurm is None:
        return found
    return dataclasses.replace(found, devices=usable_devices(found.devices, study.slurm.usable))


def study_candidates(study: Study, size_map: SizeMap) -> SweepPlan:
    """Of an adaptive study, every experiment that may be chosen: many sizes at each budget, none of them planned."""
    many = {"num_sizes_per_budget": SIZES_TO_CHOOSE_FROM, "span": study.sweep.span or SPAN_TO_CHOOSE_FROM}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FlopsFitWarning)  # of budgets and data that may never be chosen
        return study_plan(study, size_map, overrides=many)


def rounds_folder(study: Study, directory: Path) -> Path:
    """Where the rounds of a study in `directory` are kept: another one for another model, data, loss or recipe, be it
    another that was found by tuning."""
    found = [] if study.tuned_recipe is None else [study.tuned_recipe.content_hash]
    return directory / "rounds" / content_hash([study.outcome_fingerprint(), study.model_fingerprint(), *found])[:16]


def rounds_plan(study: Study, size_map: SizeMap, rounds: Sequence[Round], *, warn: bool = False) -> SweepPlan:
    """The plan of an adaptive study: the experiments of all its `rounds`, by budget and size. Its notes are given as
    warnings where `warn` says so: it is made again after every round."""
    experiments = experiments_of(rounds)
    data = study.prepared_data
    notes = remarks_on(experiments, size_map, data.num_tokens if data else None, study.sweep.max_epochs)
    notes = [*notes, *_recipe_doubts(study, size_map, experiments)] if experiments else []
    for note in notes if warn else ():
        warnings.warn(note, FlopsFitWarning, stacklevel=2)
    assert study.adaptive is not None
    targets = {float(study.adaptive.target_budget), *map(float, study.sweep.target_budgets)}
    return _plan_of(study, size_map, experiments, notes=tuple(notes), target_budgets=tuple(sorted(targets)))


def study_progress(
    study: Study,
    size_map: SizeMap,
    rounds: Sequence[Round],
    results: Mapping[str, ExperimentResult],
    lost: Collection[str] = (),
    law: ScalingLaw | None = None,
) -> Progress:
    """How far an adaptive study has come, and its next round where one is due.

    Args:
        results: of any status, by experiment id.
        lost: ids of experiments that ended without one.
        law: of these results; where it is not given it is fitted, if they are enough and no round is under way.
    """
    assert study.adaptive is not None
    plan, candidates = rounds_plan(study, size_map, rounds), study_candidates(study, size_map)
    ours = {
        item.experiment_id: results[item.experiment_id] for item in plan.experiments if item.experiment_id in results
    }
    together = {item.experiment_id: item for item in (*candidates.experiments, *plan.experiments)}
    budgets = [*plan.compute_budgets, *candidates.compute_budgets]
    every = dataclasses.replace(plan, experiments=list(together.values()), compute_budgets=budgets)
    cost, price = study_cost(study, every, ours.values()), study.hardware.price_per_hour
    now = Situation(
        options=study.adaptive,
        candidates=candidates.experiments,
        cost=cost,
        price=price,
        rounds=rounds,
        results=ours,
        spent=amount_spent(plan.experiments, ours, cost, price),
        lost=lost,
        workers=study.hardware.num_workers(),
        tokens_per_param=study.sweep.tokens_per_param,
    )
    if law is None and not now.open:
        law = _law_if_enough(study, plan, ours)
    law = law if law is not None and law.determined else None
    answer = answer_of(law, float(study.adaptive.target_budget), now.spent.flops) if law is not None else None
    step = next_step(now, law, answer)
    new = step.planned.experiments if step.planned else []
    planned = now.spent + amount_spent(new, {}, cost, price)
    return Progress(
        options=study.adaptive, rounds=tuple(rounds), step=step, answer=answer, spent=now.spent, planned=planned
    )


def _law_if_enough(study: Study, plan: SweepPlan, results: Mapping[str, ExperimentResult]) -> ScalingLaw | None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FlopsFitWarning)  # whoever shows the law says them
            return fit_study(study, plan, results.values())
    except FitError:  # too few runs
        return None
