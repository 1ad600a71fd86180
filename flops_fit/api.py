"""`find_optimal`: all stages of a study in one call, without Dagster."""

from __future__ import annotations

import functools
import os
import warnings
from collections.abc import Container, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flops_fit.adaptive.rounds import load_rounds, save_round
from flops_fit.adaptive.spent import refuse_over_total
from flops_fit.all_measured import with_all_measured
from flops_fit.basics.arguments import FLAG, FOLDER, LEFT_OUT, Rule, need
from flops_fit.basics.files import set_aside, write_value
from flops_fit.basics.formatting import format_flops
from flops_fit.basics.shown_options import with_options
from flops_fit.basics.terminal import say
from flops_fit.cost.devices import devices_text, refuse_devices
from flops_fit.cost.spending import refuse_over_limit
from flops_fit.errors import FlopsFitWarning, StudyError
from flops_fit.extension import with_what_is_next
from flops_fit.loss import validate_loss_fn
from flops_fit.processes.workers import CannotBeSent, WorkerPool
from flops_fit.rate_check.planned import cost_text
from flops_fit.recipe.trunk import of_sharing
from flops_fit.recipe_law.next_round import next_tuning
from flops_fit.recipe_law.rounds import load_tuning, save_tuning
from flops_fit.results.finished import already_finished
from flops_fit.results.results import ExperimentResult, save_runs
from flops_fit.sizes.contract import check_model
from flops_fit.sizes.size_map import SizeMap
from flops_fit.stages import (
    rounds_folder,
    rounds_plan,
    study_cost,
    study_design,
    study_grid,
    study_plan,
    study_progress,
    study_size_map,
    trials_plan,
    tuning_folder,
)
from flops_fit.study.named_sets import judged, lacking_sets
from flops_fit.study.options import NOT_OPTIONS, OPTION_OWNERS, study_from_options
from flops_fit.study.study import Study
from flops_fit.study_law import fit_study
from flops_fit.sweep.enough import refuse_too_few
from flops_fit.sweep.sweep_plan import SweepPlan
from flops_fit.training.log_events import OnLog
from flops_fit.training.side_by_side import study_workers, train_all

if TYPE_CHECKING:
    from rich.console import Console

    from flops_fit.cost.estimate import CostEstimate
    from flops_fit.scaling_law import ScalingLaw


@with_options(*OPTION_OWNERS.values(), "tuning", without=NOT_OPTIONS)
def find_optimal(
    model_cls: Any,
    model_size_param: str | None,
    model_kwargs: Mapping[str, Any] | None = None,
    dataset: Any = None,
    loss_fn: Any = None,
    compute_budgets: Sequence[float | str] | None = None,
    *,
    train: bool = True,
    eval_dataset: Any = None,
    output_dir: str | os.PathLike[str] = "flops_fit_data/find_optimal",
    resume: bool = True,
    train_anyway: bool = False,
    progress: bool = True,
    on_log: OnLog | None = None,
    **options: Any,
) -> SweepPlan | ScalingLaw:
    """The whole study in one call: probe sizes, plan the IsoFLOP grid, train it on all cores, fit the scaling law.

    Args:
        model_cls: a class, factory or partial, called as `model_cls(**model_kwargs, **{model_size_param: size})`.
        model_size_param: the argument that sets the size; None where `sizes` is a table of rows (docs/planning.md).
        dataset: `Dataset`, `IterableDataset` or `DataLoader` of pairs (inputs, targets), or the path of files of tokens
            or text, with `context=` and, of text, `tokenizer=`; further options of these, or arguments of a function
            that returns a dataset, go into `data_kwargs={...}`.
        loss_fn: called as `loss_fn(outputs, targets)`; the mean over the batch.
        compute_budgets: training FLOPs of each IsoFLOP curve, as numbers or text such as "1e18".
        train: False returns the plan and trains nothing.
        train_anyway: True trains also what is too little for a law (fewer than 6 sizes and token counts in all), which
            is refused otherwise.
        eval_dataset: held-out data, or several sets of it by name, such as `{"web": ..., "code": ...}`: the law is
            fitted to the first, or to `eval_for_law`. Without it 2 % of the training examples are held out, always the
            same ones.
        on_log: called with a dict a few times a second for each experiment under way and when it ends: loss, learning
            rate, FLOP/s and more (`flops_fit.training.log_events.LogEvent`); docs/watching.md sends them to a tracker.
        output_dir: where results are kept; experiments found there are not trained again while `resume` is true.
        options: every field of `ModelSpec`, `DataSpec`, `SweepOptions`, `Recipe` and `Hardware` by its name, such as
            `num_sizes_per_budget`, `flops`, `learning_rate`, `batch_tokens`, `workers`. With `target_budget` and
            `total_compute` (fields of `AdaptiveOptions`) it trains in rounds, each chosen from the law so far, until
            the answer at the target is sure enough or the total is spent; `compute_budgets` may then be left out. Where
            `learning_rate`, `batch_tokens` or another recipe number is "tune", it is found first, by trials as `tuning`
            says: `TuningOptions`, or its fields as a mapping.

    Returns a `SweepPlan` without a dataset or with `train=False`, otherwise a `ScalingLaw`. Before anything is planned
    it checks the options, the model, the data and the loss, in this order; it raises subclasses of `FlopsFitError`, and
    `TypeError` for an unknown option.
    """
    for name, flag in (("train", train), ("resume", resume), ("train_anyway", train_anyway), ("progress", progress)):
        need(name, flag, FLAG)  # "no" would count as true
    need("output_dir", output_dir, FOLDER)
    need("on_log", on_log, Rule(callable, "a function of one event") | LEFT_OUT)
    study = study_from_options(
        model_cls, model_size_param, model_kwargs, dataset, eval_dataset, loss_fn, compute_budgets, options
    )
    training = train and dataset is not None
    check_model(study.model.request())
    _ = study.prepared_data
    if training or loss_fn is not None:
        validate_loss_fn(loss_fn)
    size_map = study_size_map(study)
    if training and study.adaptive is None and not train_anyway:
        refuse_too_few(study_grid(study, size_map).too_few, "train_anyway=True")
    how: dict[str, Any] = {"resume": resume, "progress": progress, "on_log": on_log}
    study = _with_tuned_recipe(study, size_map, Path(output_dir), how if training else None)
    if study.adaptive is not None:
        if not training:
            return _next_round_plan(study, size_map, Path(output_dir))
        return _in_rounds(study, size_map, Path(output_dir), how)
    plan = study_plan(study, size_map)
    if not training:
        return plan
    directory = Path(output_dir)
    finished = already_finished(plan.trainings, directory / "runs") if resume else {}
    cost = study_cost(study, plan, finished.values(), directory)
    if progress:
        _show(plan, cost)
    for said in lacking_sets(study, finished.values()):
        warnings.warn(said, FlopsFitWarning, stacklevel=2)
    refuse_over_limit(study.hardware, plan, finished, cost)
    refuse_devices(study.hardware, cost.too_large)
    with _workers(study, len(plan.trainings)) as workers:
        _check_first_steps(study, plan, finished, progress, workers, directory)
        write_value(directory / "sweep_plan.json", plan.to_dict())
        devices = study_cost(study, plan, finished.values(), directory).devices  # which knows the first steps now
        results = train_all(
            study, plan.trainings, output_dir=directory / "runs", workers=workers, devices=devices, **how
        )
    return _fit_and_save(study, size_map, plan, results, directory)


def _with_tuned_recipe(study: Study, size_map: SizeMap, directory: Path, how: Mapping[str, Any] | None) -> Study:
    """The study with the rule for what it tunes, found by trials; without `how` only where it is there already."""
    if study.tuning is None:
        return study
    folder, runs = tuning_folder(study, directory), directory / "runs"
    if how and not how["resume"] and folder.exists():
        set_aside(folder)
    design, rounds = load_tuning(folder)
    if design is None:
        if how is None:
            return study
        design = study_design(study, size_map)
    workers = study.hardware.num_workers()
    results: dict[str, ExperimentResult] = {}
    with _workers(study, workers) if how else nullcontext() as pool:
        while True:
            plan = trials_plan(study, size_map, rounds)
            if how:
                results |= _train_new(study, plan, results, directory, {**how, "workers": pool}, is_round=False)
            else:
                results = already_finished(plan.experiments, runs)
            now = next_tuning(design, rounds, judged(study, results), workers=workers, settle=study.tuning.settle)
            if how and how["progress"]:
                say(_console(), now.reason)
            if now.planned is None or how is None:
                break
            save_tuning(folder, design, now.planned)
            rounds = (*rounds, now.planned)
    if now.kind == "failed" and how:
        raise StudyError(f"the recipe could not be tuned, so nothing else is trained: {now.reason}")
    if now.found is None:
        return study
    if how:
        now.found.save(directory / "recipe_law.json")
        for doubt in now.found.doubts:
            warnings.warn(doubt, FlopsFitWarning, stacklevel=3)
    return study.with_tuned_recipe(now.found)


def _fit_and_save(
    study: Study, size_map: SizeMap, plan: SweepPlan, results: Sequence[ExperimentResult], directory: Path
) -> ScalingLaw:
    grid = {item.experiment_id for item in plan.experiments}
    save_runs([result for result in results if result.experiment_id in grid], directory / "runs.csv")
    law = with_all_measured(study, plan, results, fit_study(study, plan, results))
    law = with_what_is_next(study, size_map, plan, results, law)
    law.save(directory / "scaling_law.json")
    return law


def _in_rounds(study: Study, size_map: SizeMap, directory: Path, how: Mapping[str, Any]) -> ScalingLaw:
    """An adaptive study: a round after the other, until it stops. `how` as `train_all` takes it."""
    folder = rounds_folder(study, directory)
    if not how["resume"] and folder.exists():
        set_aside(folder)
    rounds = load_rounds(folder)
    results: dict[str, ExperimentResult] = {}
    with _workers(study, study.hardware.num_workers()) as workers:
        while True:
            plan = rounds_plan(study, size_map, rounds, warn=True)
            results |= _train_new(study, plan, results, directory, {**how, "workers": workers}, is_round=True)
            now = study_progress(study, size_map, rounds, results)
            if how["progress"]:
                say(_console(), now.state())
            if now.step.planned is None:
                break
            save_round(folder, now.step.planned)
            rounds = (*rounds, now.step.planned)
    if not plan.experiments:
        raise StudyError(f"there is nothing to train: {now.step.reason}")
    ours = [results[item.experiment_id] for item in plan.experiments]
    return _fit_and_save(study, size_map, plan, ours, directory)


def _train_new(
    study: Study,
    plan: SweepPlan,
    results: Mapping[str, ExperimentResult],
    directory: Path,
    how: Mapping[str, Any],
    *,
    is_round: bool,
) -> dict[str, ExperimentResult]:
    """The results of those experiments of `plan` that are not among `results`; one that fails is not tried again.

    The plan is of rounds of the study (`is_round`), or of trials of its recipe, whose first steps are checked once.
    """
    new = [item for item in plan.experiments if item.experiment_id not in results]
    finished = {**results, **(already_finished(new, directory / "runs") if how["resume"] else {})}
    if any(item.experiment_id not in finished for item in new):
        cost = study_cost(study, plan, finished.values(), directory)
        refuse_over_limit(study.hardware, plan, finished, cost)
        refuse_devices(study.hardware, cost.too_large)
        if is_round:
            assert study.adaptive is not None
            cost = study_cost(study, plan, finished.values())  # as the round was planned: without first steps' times
            refuse_over_total(study.adaptive, study.hardware, plan, finished, cost)
        if is_round or not results:
            _check_first_steps(study, plan, finished, how["progress"], how["workers"], directory)
        if is_round:
            write_value(directory / "sweep_plan.json", plan.to_dict())
    devices = study_cost(study, plan, finished.values(), directory).devices
    trained = train_all(study, new, output_dir=directory / "runs", devices=devices, **how)
    return {result.experiment_id: result for result in trained}


def _next_round_plan(study: Study, size_map: SizeMap, directory: Path) -> SweepPlan:
    """The rounds in `directory` with the one that is next; trains and writes nothing."""
    rounds = load_rounds(rounds_folder(study, directory))
    results = already_finished(rounds_plan(study, size_map, rounds).experiments, directory / "runs")
    planned = study_progress(study, size_map, rounds, results).step.planned
    return rounds_plan(study, size_map, (*rounds, *([planned] if planned else [])), warn=True)


@contextmanager
def _workers(study: Study, tasks: int) -> Iterator[WorkerPool | None]:
    """Worker processes for first steps and trainings; None where they cannot get the study, as `train_all` says."""
    try:
        pool = study_workers(study, tasks)
    except CannotBeSent:
        yield None
        return
    with pool:
        yield pool


def _check_first_steps(
    study: Study,
    plan: SweepPlan,
    finished: Container[str],
    progress: bool,
    workers: WorkerPool | None,
    directory: Path,
) -> None:
    """Refuse a study that fails at every size, warn where it fails at one, and say how long it would take."""
    from flops_fit.preflight.preflight import IN_WORKERS, preflight_if_due

    in_workers = functools.partial(workers.run, function=IN_WORKERS) if workers else None
    try:
        found = preflight_if_due(study, plan, finished, in_workers)
    except CannotBeSent:  # the worker could not load it; `train_all` says so
        found = preflight_if_due(study, plan, finished)
    if found is not None and found.problems:
        problems = "\n".join(found.problems)
        warnings.warn(f"one size fails at its first steps; the others are trained:\n{problems}", FlopsFitWarning, 3)
    for doubt in found.doubts if found is not None else ():
        warnings.warn(doubt, FlopsFitWarning, 3)
    if found is not None and found.timed is not None:
        found.timed.save(directory)
    if found is not None and progress:
        say(_console(), found.cost())


def _console() -> Console:
    from rich.console import Console

    return Console(stderr=True)


def _show(plan: SweepPlan, cost: CostEstimate) -> None:
    """Say what will be trained, and what will not and why."""
    console = _console()
    say(console, f"{plan.num_experiments} experiments, {format_flops(plan.total_flops)} FLOPs")
    for note in of_sharing(plan.notes):
        say(console, note)
    if devices := devices_text(cost.devices):
        say(console, devices)
    if plan.checks:
        say(console, cost_text(plan.checks, plan.experiments))
    for point in plan.dropped:
        say(console, f"not planned at {format_flops(point.compute_budget)} FLOPs: {point.reason}")
