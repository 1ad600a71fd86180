"""The stages of a study as functions of it, and `find_optimal`: all of them in one call, without Dagster."""

from __future__ import annotations

import dataclasses
import os
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flops_fit.basics.files import write_json
from flops_fit.basics.formatting import format_flops
from flops_fit.basics.workers import NotImportable, run_tasks
from flops_fit.cost.hardware import peak_to_show
from flops_fit.cost.spending import refuse_over_limit
from flops_fit.errors import FlopsFitWarning, StudyError
from flops_fit.log_events import OnLog, finished_event
from flops_fit.progress import StudyProgress
from flops_fit.recipe.recipe import doubts
from flops_fit.results.finished import already_finished
from flops_fit.results.results import ExperimentResult, failed_result, results_frame, save_runs
from flops_fit.sizes.size_map import SizeMap, build_size_map
from flops_fit.study.options import study_from_options
from flops_fit.study.sections import SweepOptions
from flops_fit.study.study import Study
from flops_fit.sweep.experiment import Experiment
from flops_fit.sweep.sweep_plan import SweepPlan, plan_from_size_map

if TYPE_CHECKING:
    from rich.console import Console

    from flops_fit.scaling_law import ScalingLaw

_SAMPLE_EXAMPLES = 4


def study_size_map(study: Study) -> SizeMap:
    """Stage one: size → parameters and FLOPs per token. Knows no budgets."""
    spec, data, sample = study.model, study.prepared_data, {}
    if data is not None and study.loss_function is not None:
        # measured also where 6·N is used, to tell how far it is off
        sample = {
            "sample_batch": data.train.first(_SAMPLE_EXAMPLES),
            "loss_fn": study.loss_function,
            "tokens_per_example": data.tokens_per_example,
        }
    elif spec.flops == "measured":
        raise StudyError('flops = "measured" needs the study\'s data and loss; give both, or flops = "6nd"')
    return build_size_map(
        spec.factory,
        spec.size_param,
        spec.kwargs,
        min_size=spec.min_size,
        max_size=spec.max_size,
        size_values=spec.size_values,
        max_params=spec.max_params,
        flops=spec.flops,
        flops_per_param_per_token=spec.flops_per_param_per_token,
        param_count=spec.param_count,
        **sample,
    )


def study_plan(
    study: Study, size_map: SizeMap, *, overrides: Mapping[str, Any] | None = None, centre: Any = None
) -> SweepPlan:
    """Stage two: the IsoFLOP grid. `overrides` replace options of `study.sweep` by name, such as `compute_budgets`.

    `centre` as in `flops_fit.sweep.grid.GridOptions`.

    Warns where the recipe follows a published rule (`flops_fit.recipe.published_rules`) outside its range.
    """
    given = {item.name: getattr(study.sweep, item.name) for item in dataclasses.fields(study.sweep)}
    sweep = SweepOptions(**given | dict(overrides or {}))
    data = study.prepared_data
    plan = plan_from_size_map(
        size_map,
        sweep.compute_budgets,
        **sweep.grid(),
        centre=centre,
        dataset_tokens=data.num_tokens if data else None,
        tokens_per_example=data.tokens_per_example if data else 1,
        identity=study.outcome_fingerprint(),
        model_kwargs=study.model.kwargs,
    )
    embedded = any(entry.non_embedding_params not in (None, entry.num_params) for entry in size_map.entries)
    found = () if study.trainer else doubts(study.training, plan.experiments, counts_embeddings=embedded)
    for doubt in found:
        warnings.warn(doubt, FlopsFitWarning, stacklevel=2)
    targets = tuple(float(target) for target in sweep.target_budgets)
    return dataclasses.replace(plan, notes=(*plan.notes, *found), target_budgets=targets)


def fit_study(study: Study, plan: SweepPlan, results: Iterable[ExperimentResult]) -> ScalingLaw:
    """Last stage: the scaling law of the results that belong to `plan`, whatever else is given."""
    from flops_fit.scaling_law import fit_scaling_law

    wanted = {experiment.experiment_id for experiment in plan.experiments}
    runs = results_frame(result for result in results if result.experiment_id in wanted)
    return fit_scaling_law(runs, units={"num_params": 1, "num_tokens": 1, "flops": 1})


def longest_first(experiments: Iterable[Experiment]) -> list[Experiment]:
    """In the order that keeps parallel workers busy to the end."""
    return sorted(experiments, key=lambda item: (-item.compute_budget, -item.num_tokens, item.seed))


def train_all(
    study: Study,
    experiments: Sequence[Experiment],
    *,
    output_dir: Path,
    resume: bool = True,
    progress: bool = True,
    on_log: OnLog | None = None,
) -> list[ExperimentResult]:
    """Train every experiment, side by side on this machine's workers, and return the results in the same order.

    `on_log` is called in this process with the events of all of them; see `flops_fit.log_events.LogEvent`.
    Where worker processes cannot import the model, data or loss (defined in a notebook or a function), the experiments
    are trained in this process one after the other, said once in a warning.
    """
    results = already_finished(experiments, output_dir) if resume else {}
    ordered = longest_first(item for item in experiments if item.experiment_id not in results)
    workers = study.hardware.num_workers()
    planned = sum(item.planned_flops for item in ordered)
    wanted = progress or on_log is not None
    peak = peak_to_show(study.hardware, planned, study.training.precision) if wanted else None
    with StudyProgress(len(ordered), planned_flops=planned, peak=peak, on_log=on_log, show=progress) as bars:
        runs = _side_by_side(study, ordered, workers, output_dir, resume, bars)
        results |= {result.experiment_id: result for result in runs}
    return [results[experiment.experiment_id] for experiment in experiments]


def _side_by_side(
    study: Study, experiments: Sequence[Experiment], workers: int, output_dir: Path, resume: bool, bars: StudyProgress
) -> Iterator[ExperimentResult]:
    from flops_fit.basics.devices import worker_environments

    payloads = [(experiment, output_dir, resume) for experiment in experiments]
    try:
        outcomes = run_tasks(
            "flops_fit.api:train_in_worker",
            payloads,
            num_workers=workers,
            shared=study,
            on_event=lambda _, event: bars.update(event),
            environments=worker_environments(study.hardware.device),
        )
        for outcome in outcomes:
            experiment = experiments[outcome.index]
            result = outcome.value or failed_result(experiment, outcome.error or "no result")
            if outcome.value is None:  # its process is gone and cannot say so
                bars.update(finished_event(experiment, result))
            bars.finish(result)
            yield result
    except NotImportable as error:
        message = (
            f"worker processes cannot import the model, data or loss ({error}); training in this process instead, "
            "one experiment after the other; define them in a module of their own to use all cores"
        )
        warnings.warn(message, FlopsFitWarning, stacklevel=4)
        yield from _one_by_one(study, experiments, output_dir, resume, bars)


def _one_by_one(
    study: Study, experiments: Sequence[Experiment], output_dir: Path, resume: bool, bars: StudyProgress
) -> Iterator[ExperimentResult]:
    import torch

    from flops_fit.training import run_experiment

    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as in the workers: the same result to the bit, and small models are faster so
    try:
        for experiment in experiments:
            result = run_experiment(study, experiment, output_dir=output_dir, on_log=bars.update, resume=resume)
            bars.finish(result)
            yield result
    finally:
        torch.set_num_threads(threads)


def train_in_worker(payload: tuple[Experiment, Path, bool], emit: Any, study: Study) -> ExperimentResult:
    """The task of one worker process; see `flops_fit.basics.workers.run_tasks`."""
    from flops_fit.training import run_experiment

    experiment, output_dir, resume = payload
    return run_experiment(study, experiment, output_dir=output_dir, on_log=emit, resume=resume)


def find_optimal(
    model_cls: Any,
    model_size_param: str,
    model_kwargs: Mapping[str, Any] | None = None,
    dataset: Any = None,
    loss_fn: Any = None,
    compute_budgets: Sequence[float | str] | None = None,
    *,
    train: bool = True,
    eval_dataset: Any = None,
    output_dir: str | os.PathLike[str] = "flops_fit_data/find_optimal",
    resume: bool = True,
    progress: bool = True,
    on_log: OnLog | None = None,
    **options: Any,
) -> SweepPlan | ScalingLaw:
    """The whole study in one call: probe sizes, plan the IsoFLOP grid, train it on all cores, fit the scaling law.

    Args:
        model_cls: a class, factory or partial, called as `model_cls(**model_kwargs, **{model_size_param: size})`.
        dataset: `Dataset`, `IterableDataset` or `DataLoader` of pairs (inputs, targets).
        loss_fn: called as `loss_fn(outputs, targets)`; the mean over the batch.
        compute_budgets: training FLOPs of each IsoFLOP curve, as numbers or text such as "1e18".
        train: False returns the plan and trains nothing.
        eval_dataset: held-out data; without it 2 % of the training examples are held out, always the same ones.
        on_log: called with a dict a few times a second for each experiment under way and when it ends: loss, learning
            rate, FLOP/s and more (`flops_fit.log_events.LogEvent`); docs/watching.md sends them to a tracker.
        output_dir: where results are kept; experiments found there are not trained again while `resume` is true.
        options: every field of `ModelSpec`, `DataSpec`, `SweepOptions`, `Recipe` and `Hardware` by its name, such as
            `num_sizes_per_budget`, `flops`, `learning_rate`, `batch_tokens`, `workers`.

    Returns a `SweepPlan` without a dataset or with `train=False`, otherwise a `ScalingLaw`. Raises subclasses of
    `FlopsFitError` for input that cannot be meant, before anything is trained.
    """
    if compute_budgets is None:
        raise StudyError("compute_budgets is None; give the training FLOPs of each IsoFLOP curve, such as [1e15, 1e16]")
    study = study_from_options(
        model_cls, model_size_param, model_kwargs, dataset, eval_dataset, loss_fn, compute_budgets, options
    )
    training = train and dataset is not None
    if training:  # refuse what cannot be trained on before time is spent on planning
        _ = study.loss_function, study.prepared_data
    plan = study_plan(study, study_size_map(study))
    if not training:
        return plan
    if not plan.experiments:
        raise StudyError(f"the plan has no experiments to train: {_reasons(plan)}")
    if progress:
        _show(plan)
    directory = Path(output_dir)
    refuse_over_limit(study, plan, already_finished(plan.experiments, directory / "runs") if resume else {})
    _check_first_steps(study, plan, directory / "runs" if resume else None, progress)
    write_json(directory / "sweep_plan.json", plan.to_dict())
    how: dict[str, Any] = {"resume": resume, "progress": progress, "on_log": on_log}
    results = train_all(study, plan.experiments, output_dir=directory / "runs", **how)
    save_runs(results, directory / "runs.csv")
    law = fit_study(study, plan, results)
    law.save(directory / "scaling_law.json")
    return law


def _check_first_steps(study: Study, plan: SweepPlan, runs: Path | None, progress: bool) -> None:
    """Refuse a study that fails at every size, warn where it fails at one, and say how long it would take."""
    from flops_fit.preflight import preflight_if_due

    found = preflight_if_due(study, plan, already_finished(plan.experiments, runs) if runs else ())
    if found is not None and found.problems:
        problems = "\n".join(found.problems)
        warnings.warn(f"one size fails at its first steps; the others are trained:\n{problems}", FlopsFitWarning, 3)
    if found is not None and progress:
        _console().print(found.cost(), markup=False)


def _console() -> Console:
    from rich.console import Console

    return Console(stderr=True, soft_wrap=True, highlight=False)


def _show(plan: SweepPlan) -> None:
    """Say what will be trained, and what will not and why."""
    console = _console()
    console.print(f"{plan.num_experiments} experiments, {format_flops(plan.total_flops)} FLOPs", markup=False)
    for point in plan.dropped:
        console.print(f"not planned at {format_flops(point.compute_budget)} FLOPs: {point.reason}", markup=False)


def _reasons(plan: SweepPlan) -> str:
    return "; ".join(dict.fromkeys(point.reason for point in plan.dropped)) or "no budget admits any size"
