"""`flops-fit check` and `flops-fit learning-rate`: what to find out before a study is paid for."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flops_fit.basics.formatting import format_flops, format_money, format_seconds
from flops_fit.basics.terminal import say, say_markdown
from flops_fit.cost.estimate import CostEstimate
from flops_fit.kept_size_map import kept_size_map
from flops_fit.preflight.learning_rate import DEFAULT_FACTORS, check_learning_rate, checked_experiments
from flops_fit.stages import plan_to_look_at, study_cost, study_plan
from flops_fit_assets.graph.tuned_study import with_recipe
from flops_fit_assets.instance.where import home_directory
from flops_fit_assets.source import StudySource

if TYPE_CHECKING:
    from rich.console import Console

    from flops_fit.preflight.first_steps import Trial
    from flops_fit.preflight.preflight import Preflight
    from flops_fit.study.study import Study
    from flops_fit.sweep.sweep_plan import SweepPlan

SCHEMA = "flops_fit.check_command/1"


def print_preflight(path: Path, console: Console, *, as_json: bool = False) -> bool:
    """Take the first steps of the study at `path`, print what they show, and return whether all went well."""
    from flops_fit.preflight.at_once import tried_at_once
    from flops_fit.preflight.preflight import preflight, refuse_trainer

    source = StudySource.of(path)
    study = source.study
    refuse_trainer(study)
    plan = plan_to_look_at(study, kept_size_map(study))
    found = preflight(study, plan)
    at_once = () if found.problems else tuple(tried_at_once(study, plan, apart=source.store.apart))
    if found.timed is not None:
        found.timed.save(source.store.directory)
    if as_json:
        from flops_fit_assets.commands.printed_json import print_json

        print_json(check_json(study, found, at_once))
    else:
        say_markdown(console, found.summary())
        say(console, *at_once)
    return not found.problems


def check_json(study: Study, found: Preflight, at_once: Sequence[str] = ()) -> dict[str, Any]:
    """One object: what the first steps showed at each size tried, and what all trainings take at that speed.

    Keys stay as they are within a schema; units are in the names. `seconds_per_step` is of one worker.
    """
    hours = found.device_hours
    return {
        "schema": SCHEMA,
        "study": study.name,
        "device": found.device,
        "workers": found.workers,
        "experiments": found.num_experiments,
        "device_seconds": None if hours is None else 3600 * hours,
        "wall_seconds": found.wall_seconds,
        "sizes": [_trial(trial) for trial in found.trials],
        "at_once": [*at_once],
        "problems": [*found.problems],
        "doubts": [*found.doubts],
    }


def _trial(trial: Trial) -> dict[str, Any]:
    return {
        "size_param": trial.experiment.size_param,
        "size": trial.experiment.size_param_value,
        "num_params": trial.experiment.num_params,
        "examples_per_step": trial.batch_examples,
        "examples_at_once": trial.part_examples or trial.batch_examples,
        "loss_at_the_start": trial.initial_loss,
        "seconds_per_step": trial.seconds_per_step,
        "memory_bytes": trial.memory_bytes,
        "problems": [*trial.problems],
    }


def print_learning_rate(path: Path, console: Console) -> None:
    """Check the learning rate of the study at `path`: say what that costs, train, print losses and doubts."""
    from flops_fit.preflight.preflight import refuse_trainer

    study = with_recipe(StudySource.of(path))
    refuse_trainer(study)
    plan = study_plan(study, kept_size_map(study))
    say(console, learning_rate_cost(study, plan, study_cost(study, plan)))
    found = check_learning_rate(study, plan, output_dir=home_directory() / study.name / "learning_rate")
    say_markdown(console, found.table())
    say(console, *(f"warning: {warning}" for warning in found.warnings))
    if not found.warnings:
        say(console, "nothing speaks against this learning rate")


def learning_rate_cost(study: Study, plan: SweepPlan, cost: CostEstimate) -> str:
    """One line: trainings, FLOPs, time and money of a learning-rate check of `plan`."""
    ends = checked_experiments(plan)
    trainings, flops = len(DEFAULT_FACTORS) * len(ends), len(DEFAULT_FACTORS) * sum(item.planned_flops for item in ends)
    seconds = len(DEFAULT_FACTORS) * sum(cost.seconds[item.experiment_id] for item in ends)
    price = study.hardware.price_per_hour
    money = f", {format_money(seconds / 3600 * price)}" if price else ""
    return (
        f"learning-rate check: {trainings} trainings at the cheapest budget, {format_flops(flops)} FLOPs in all, "
        f"{format_seconds(seconds / min(cost.workers, trainings))}{money}"
    )
