"""`flops-fit check` and `flops-fit learning-rate`: what to find out before a study is paid for."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from flops_fit.basics.formatting import format_flops, format_money, format_seconds
from flops_fit.cost.estimate import CostEstimate
from flops_fit.preflight.learning_rate import DEFAULT_FACTORS, check_learning_rate, checked_experiments
from flops_fit.preflight.preflight import preflight, refuse_trainer
from flops_fit.stages import plan_to_look_at, study_cost, study_plan, study_size_map
from flops_fit_assets.graph.tuned_study import with_recipe
from flops_fit_assets.instance.where import home_directory
from flops_fit_assets.source import StudySource

if TYPE_CHECKING:
    from rich.console import Console

    from flops_fit.study.study import Study
    from flops_fit.sweep.sweep_plan import SweepPlan


def print_preflight(path: Path, console: Console) -> bool:
    """Take the first steps of the study at `path`, print what they show, and return whether all went well."""
    source = StudySource.of(path)
    study = source.study
    found = preflight(study, plan_to_look_at(study, study_size_map(study)))
    if found.timed is not None:
        found.timed.save(source.store.directory)
    _print(console, found.summary())
    return not found.problems


def print_learning_rate(path: Path, console: Console) -> None:
    """Check the learning rate of the study at `path`: say what that costs, train, print losses and doubts."""
    study = with_recipe(StudySource.of(path))
    refuse_trainer(study)
    plan = study_plan(study, study_size_map(study))
    _print(console, learning_rate_cost(study, plan, study_cost(study, plan)))
    found = check_learning_rate(study, plan, output_dir=home_directory() / study.name / "learning_rate")
    _print(console, found.table())
    for warning in found.warnings:
        _print(console, f"warning: {warning}")
    if not found.warnings:
        _print(console, "nothing speaks against this learning rate")


def learning_rate_cost(study: Study, plan: SweepPlan, cost: CostEstimate) -> str:
    """One line: trainings, FLOPs, time and money of a learning-rate check of `plan`."""
    ends = checked_experiments(plan)
    trainings, flops = len(DEFAULT_FACTORS) * len(ends), len(DEFAULT_FACTORS) * sum(item.planned_flops for item in ends)
    seconds = len(DEFAULT_FACTORS) * sum(cost.seconds[item.experiment_id] for item in ends)
    price = study.hardware.price_per_hour
    money = f", {format_money(seconds / 3600 * price)}" if price else ""
    return (
        f"learning-rate check: {trainings} trainings at the cheapest budget, {format_flops(flops)} FLOPs, "
        f"{format_seconds(seconds / min(cost.workers, trainings))}{money}"
    )


def _print(console: Console, text: str) -> None:
    console.print(text, highlight=False, markup=False, soft_wrap=True)
