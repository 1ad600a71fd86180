"""What tuning does next: wait, train another round of trials, fit the law, or give up and say why."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from flops_fit.basics.formatting import format_flops
from flops_fit.errors import FitError
from flops_fit.identity.fingerprints import content_hash
from flops_fit.recipe.tuning import Trial, fit_recipe_law
from flops_fit.recipe_law.design import TuningDesign, suggested
from flops_fit.recipe_law.rounds import TuningRound, trials_of
from flops_fit.recipe_law.settling import FURTHER, TOLERATED_EXCESS, price_of_settling
from flops_fit.recipe_law.tuned_recipe import TunedRecipe
from flops_fit.results.results import ExperimentResult
from flops_fit.sweep.experiment import Experiment, with_values

LEAST_ROUND = 3
HOPELESS = 2  # rounds without any completed trial


@dataclass(frozen=True, kw_only=True)
class Tuning:
    """How far tuning has come.

    Attributes:
        kind: "train" (trials of the last round are still to be trained), "round" (`planned` is a new one), "done"
            (there is `found`) or "failed".
        reason: in a sentence.
    """

    kind: str
    reason: str
    planned: TuningRound | None = None
    found: TunedRecipe | None = None


def next_tuning(
    design: TuningDesign,
    rounds: Sequence[TuningRound],
    results: Mapping[str, ExperimentResult],
    lost: Collection[str] = (),
    workers: int = 1,
    settle: float = 0.0,
) -> Tuning:
    """Wait, plan the next round, fit the law, or give up; the same for the same content.

    Args:
        results: of any status, by experiment id.
        lost: ids of trials that ended without a result.
        workers: trained side by side.
        settle: share of the study's FLOPs that further trials may take where the recipe is not known well enough.
    """
    every = trials_of(rounds)
    waiting = [item for item in every if item.experiment_id not in results and item.experiment_id not in lost]
    if waiting:
        last = rounds[-1]
        return Tuning(
            kind="train", reason=f"tuning round {last.number}: {len(waiting)} of {len(last.experiments)} left"
        )
    trials, left_out = _trials(every, results)
    none_completed = bool(rounds) and all(trial.loss is None for trial in trials)
    if none_completed and (not trials or len(rounds) >= HOPELESS):
        return Tuning(kind="failed", reason=_hopeless(design, trials, left_out))
    least = LEAST_ROUND if rounds else 1 + 2 * len(design.tuned)
    left, count = design.flops * (1 + 1e-9) - _spent(every, results), max(workers, least)
    if chosen := _chosen(design, every, trials, count, left, further=False):
        return _round(design, rounds, results, chosen)
    done = _fitted(design, every, trials, left_out, results)
    if settle > 0 and done.found is not None and done.found.settling is not None:
        left += settle * design.study_flops
        if chosen := _chosen(design, every, trials, count, left, further=True):
            return _round(design, rounds, results, chosen)
    return done


def _round(
    design: TuningDesign,
    rounds: Sequence[TuningRound],
    results: Mapping[str, ExperimentResult],
    chosen: Sequence[Experiment],
) -> Tuning:
    planned = TuningRound(
        number=len(rounds) + 1, planned_from=_planned_from(design, rounds, results), experiments=tuple(chosen)
    )
    what = f"{len(chosen)} trials, {format_flops(planned.flops)} FLOPs"
    return Tuning(kind="round", reason=f"tuning round {planned.number}: {what}", planned=planned)


def _trials(
    every: Sequence[Experiment], results: Mapping[str, ExperimentResult]
) -> tuple[tuple[Trial, ...], dict[str, str]]:
    trials, left_out = [], {}
    for item in every:
        result = results.get(item.experiment_id)
        if result is not None and result.is_final:
            trials.append(
                Trial(
                    num_params=float(item.num_params),
                    num_tokens=float(item.num_tokens),
                    values=dict(item.tuned),
                    loss=result.loss,
                )
            )
        else:
            reason = result.reason if result is not None else None
            left_out[item.experiment_id] = reason or "its process ended without a result"
    return tuple(trials), left_out


def _chosen(
    design: TuningDesign, every: Sequence[Experiment], trials: Sequence[Trial], count: int, left: float, further: bool
) -> list[Experiment]:
    """The next trials, or the next `further` ones; `left`: FLOPs that they may take."""
    trainings = design.trainings + (FURTHER if further else 0)
    chosen = suggested(
        design, trials, count=count, trials_left=trainings - len(every), flops_left=left, further=further
    )
    known = {item.experiment_id for item in every}
    experiments = [with_values(design.places[trial.cell], trial.values) for trial in chosen]
    return [item for item in experiments if item.experiment_id not in known]  # one that failed is not tried again


def _spent(every: Sequence[Experiment], results: Mapping[str, ExperimentResult]) -> float:
    return sum(
        results[item.experiment_id].flops if item.experiment_id in results else item.planned_flops for item in every
    )


def _fitted(
    design: TuningDesign,
    every: Sequence[Experiment],
    trials: tuple[Trial, ...],
    left_out: Mapping[str, str],
    results: Mapping[str, ExperimentResult],
) -> Tuning:
    try:
        law = fit_recipe_law(trials, design.tuned)
    except FitError as error:
        return Tuning(kind="failed", reason=str(error))
    spent = _spent(every, results)
    found = TunedRecipe(
        law=law,
        trials=trials,
        left_out=left_out,
        flops=spent,
        study_flops=design.study_flops,
        largest=design.largest,
        tuned_for=design.tuned_for,
    )
    if found.excess_at_largest > TOLERATED_EXCESS:
        found = replace(found, settling=price_of_settling(design, trials, law))
    said = f"{len(trials)} trials, {format_flops(spent)} FLOPs, {found.share:.1%} of the study"
    return Tuning(kind="done", reason=said, found=found)


def _hopeless(design: TuningDesign, trials: Sequence[Trial], left_out: Mapping[str, str]) -> str:
    if trials:
        try:
            fit_recipe_law(trials, design.tuned)
        except FitError as error:
            return f"{error}; then run the study again with that as start in [tuning]"
    why = next(iter(left_out.values()), "no trial was trained")
    return f"none of the {len(left_out)} first trials was completed ({why}); mend that and run the study again"


def _planned_from(design: TuningDesign, rounds: Sequence[TuningRound], results: Mapping[str, ExperimentResult]) -> str:
    ids = [item.experiment_id for item in trials_of(rounds)]
    seen = [[name, results[name].status, results[name].loss] if name in results else [name] for name in ids]
    return content_hash([design.content_hash, [item.content_hash for item in rounds], seen])
