"""What the page of `sweep_plan` shows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dagster import MetadataValue, TableColumn, TableRecord, TableSchema

from flops_fit.basics.formatting import (
    format_bytes,
    format_count,
    format_flops,
    format_loss,
    format_money,
    format_seconds,
)
from flops_fit.cost.estimate import CostEstimate
from flops_fit.cost.hardware import Hardware
from flops_fit.cost.spending import Spending
from flops_fit.recipe.in_words import recipe_text
from flops_fit.results.results import ExperimentResult
from flops_fit_assets.metadata.shared import Metadata, finite, inline_table
from flops_fit_assets.metadata.training_run import state_of

if TYPE_CHECKING:
    from flops_fit.study.study import Study
    from flops_fit.sweep.experiment import Experiment
    from flops_fit.sweep.sweep_plan import SweepPlan


MOST_ROWS = 500  # of the plan table; the page takes a minute to show 5,000


def plan_metadata(
    plan: SweepPlan,
    cost: CostEstimate,
    spent: Spending,
    results: Mapping[str, ExperimentResult],
    path: Path,
    overrides: Mapping[str, Any],
) -> Metadata:
    """The grid with what was done and what was still to spend when it was planned, per budget and in total."""
    done = {name: result for name, result in results.items() if result.is_final}
    shown: Metadata = {
        "state": state_text(plan, spent),
        "budgets": budget_table(plan, cost, done, spent.price_per_hour),
        "plan table": plan_table(plan, cost, results),
        "N counts": f"{plan.param_count} parameters",
        "FLOPs per token": plan.flops_method,
        "experiments": plan.num_experiments,
        **({"checks of the learning rate": len(plan.checks)} if plan.checks else {}),
        **_left_out_of_table(plan),
        "experiments to train": spent.left_experiments,
        "planned FLOPs": spent.planned_flops,
        "FLOPs spent": spent.done_flops,
        "FLOPs still to spend": spent.left_flops,
        "device-hours spent": spent.done_hours,
        "device-hours still to spend": spent.left_hours,
        "hours to train": spent.left_wall_hours,
        **_money(spent),
        "time to train": f"{format_seconds(3600 * spent.left_wall_hours)} on {cost.workers} workers ({cost.basis})",
        **({"memory": cost.memory_text()} if cost.memory_text() else {}),
        "dropped grid points": len(plan.dropped),
        "file": MetadataValue.path(str(path)),
    }
    if plan.notes:
        shown["notes"] = MetadataValue.md("\n".join(f"- {note}" for note in plan.notes))
    if plan.dropped:
        shown["dropped"] = dropped_table(plan)
    if overrides:
        text = ", ".join(f"`{name} = {value}`" for name, value in overrides.items())
        shown["override"] = MetadataValue.md(
            f"{text} instead of the study's, until the study changes or the sweep is planned again"
        )
    return finite(shown)


def state_text(plan: SweepPlan, spent: Spending) -> str:
    """How far the plan is and what is left of it, in a short line, as the page cuts long ones off."""
    done = len(plan.trainings) - spent.left_experiments
    money = f" and {format_money(spent.left_money)}" if spent.price_per_hour else ""
    left = f"{format_flops(spent.left_flops)} FLOPs, {format_seconds(3600 * spent.left_wall_hours)}{money} left"
    return f"{done} of {len(plan.trainings)} trained, {left if spent.left_experiments else 'nothing left to train'}"


def _money(spent: Spending) -> Metadata:
    """What was paid and will be, where device-hours have a price."""
    return {"cost so far": spent.done_money, "cost still to spend": spent.left_money} if spent.price_per_hour else {}


def recipe_metadata(study: Study, plan: SweepPlan) -> Metadata:
    """What the experiments are trained with, where it is the study's own recipe that trains them."""
    text = "" if study.trainer else recipe_text(study.training, plan.experiments, plan.data_unit)
    return {"recipe": text} if text else {}


def limits_text(spent: Spending, hardware: Hardware) -> str:
    """What is left to spend against what may be spent."""
    if not hardware.limits:
        return "no limit given: max_cost and max_hours of [hardware]"
    money = f"{format_money(spent.left_money)} and " if spent.price_per_hour else ""
    left = f"{money}{format_seconds(3600 * spent.left_wall_hours)} still to spend"
    allowed = ", ".join(f"{name} = {value:g}" for name, value in hardware.limits.items())
    return f"{left}, within {allowed} ({spent.basis})"


def budget_table(
    plan: SweepPlan, cost: CostEstimate, done: Mapping[str, ExperimentResult], price_per_hour: float
) -> MetadataValue:
    """One row per budget, narrow enough for a laptop: what is done, sizes, tokens, and of what is left FLOPs, device
    time and money."""
    rows = []
    groups = [(format_flops(budget), experiments) for budget, experiments in plan.by_budget().items()]
    for name, experiments in [*groups, *([("checks of the rate", plan.checks)] if plan.checks else [])]:
        left = [item for item in experiments if item.experiment_id not in done]
        hours = sum(cost.seconds[item.experiment_id] for item in left) / 3600
        rows.append(
            (
                name,
                f"{len(experiments) - len(left)} of {len(experiments)}",
                _span(item.num_params for item in experiments),
                _span(item.num_tokens for item in experiments),
                format_flops(sum(map(cost.own_flops, left))) if left else "–",
                format_seconds(hours * 3600) if left else "–",
                *([format_money(hours * price_per_hour) if left else "–"] if price_per_hour else []),
            )
        )
    headers = ("budget", "done", "parameters", f"{plan.data_unit}s", "FLOPs left", "time left",
               *(["cost left"] if price_per_hour else []))  # fmt: skip
    return inline_table(headers, rows)


def shown_experiments(plan: SweepPlan, results: Mapping[str, ExperimentResult]) -> list[Experiment]:
    """Those of the plan table, in the plan's order: all, or `MOST_ROWS`, those without a final result first."""
    experiments = plan.trainings
    if len(experiments) <= MOST_ROWS:
        return experiments

    def is_done(index: int) -> bool:
        result = results.get(experiments[index].experiment_id)
        return result is not None and result.is_final

    first = sorted(range(len(experiments)), key=is_done)[:MOST_ROWS]
    return [experiments[index] for index in sorted(first)]


def plan_table(plan: SweepPlan, cost: CostEstimate, results: Mapping[str, ExperimentResult]) -> MetadataValue:
    """One row per shown training, sortable in the page; a check of the learning rate with the rate that it tries."""
    records = []
    checks = {item.experiment_id: f"{dict(item.tuned)['learning_rate']:.3g}" for item in plan.checks}
    for item in shown_experiments(plan, results):
        result = results.get(item.experiment_id)
        records.append(
            TableRecord(
                {
                    "budget": format_flops(item.compute_budget),
                    plan.size_header: item.size_cell,
                    **{name: str(item.arguments.get(name, "")) for name in plan.argument_names},
                    "parameters": item.num_params,
                    **{f"{name} parameters": getattr(item, f"{name}_params") or 0 for name in plan.other_counts},
                    "tokens": item.num_tokens,
                    "tokens per parameter": round(item.tokens_per_param, 1),
                    "planned FLOPs": format_flops(item.planned_flops),
                    "peak memory": _bytes(cost.memory_bytes[item.experiment_id]),
                    "device time": format_seconds(cost.seconds[item.experiment_id]),
                    "state": state_of(result) if result else "to train",
                    "loss": "" if result is None or result.loss is None else format_loss(result.loss),
                    **({"checks the rate": checks.get(item.experiment_id, "")} if checks else {}),
                    "id ends in": item.experiment_id.rpartition("-")[2],  # whole, it would break over four lines
                }
            )
        )
    numeric = {"parameters", "tokens", *(f"{name} parameters" for name in plan.other_counts)}
    numeric |= set() if plan.has_labels else {plan.size_param}
    columns = list(records[0].data) if records else ["id ends in"]
    schema = TableSchema(
        columns=[
            TableColumn(name, "int" if name in numeric else "float" if name == "tokens per parameter" else "string")
            for name in columns
        ]
    )
    return MetadataValue.table(records, schema)


def _left_out_of_table(plan: SweepPlan) -> Metadata:
    left_out = len(plan.trainings) - MOST_ROWS
    if left_out <= 0:
        return {}
    said = f"{MOST_ROWS} of {len(plan.trainings)} experiments, those still to train first; the file has all"
    return {"plan table shows": said}


def _bytes(number: float | None) -> str:
    return "" if number is None else format_bytes(number)


def dropped_table(plan: SweepPlan) -> MetadataValue:
    """The grid points that are not in the plan, with the reason of each."""
    rows = [
        (format_flops(item.compute_budget), format_count(item.num_params), item.size_cell, item.reason)
        for item in plan.dropped
    ]
    return inline_table(("budget", "parameters", plan.size_header, "reason"), rows)


def _span(values: Iterable[float]) -> str:
    numbers = sorted(values)
    if not numbers:
        return "none"
    return f"{format_count(numbers[0])}–{format_count(numbers[-1])}"
