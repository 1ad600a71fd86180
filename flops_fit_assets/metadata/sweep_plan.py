"""What the page of `sweep_plan` shows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from dagster import MetadataValue, TableColumn, TableRecord, TableSchema

from flops_fit.basics.formatting import (
    format_count,
    format_flops,
    format_money,
    format_seconds,
)
from flops_fit.cost.devices import devices_text
from flops_fit.cost.estimate import CostEstimate
from flops_fit.cost.hardware import Hardware
from flops_fit.cost.spending import Spending
from flops_fit.recipe.in_words import recipe_text
from flops_fit.results.results import ExperimentResult
from flops_fit_assets.metadata.shared import Metadata, finite, inline_table, rounded
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
    file: Any,
    overrides: Mapping[str, Any],
    about: Metadata | None = None,
) -> Metadata:
    """The grid and what it costs, per budget and in total, and what of it was done when it was planned.

    Args:
        file: the plan's file as metadata.
        about: where its state of now is, what it was planned again for, and the settings that it was planned from.
    """
    about = about or {}
    shown: Metadata = {
        "when planned": state_text(plan, spent),
        **{name: about[name] for name in ("now", "changed") if name in about},
        **_override(overrides),
        "in all": total_text(plan, cost, spent),
        "budgets": budget_table(plan, cost, spent.price_per_hour),
        "plan table": plan_table(plan, results),
        **_left_out_of_table(plan),
        "N counts": f"{plan.param_count} parameters",
        "FLOPs per token": plan.flops_method,
        "hours rest on": cost.basis,
        **({"devices": text} if (text := devices_text(cost.devices)) else {}),
        **({"memory": cost.memory_text()} if cost.memory_text() else {}),
        "experiments": plan.num_experiments,
        **({"checks of the learning rate": len(plan.checks)} if plan.checks else {}),
        "experiments to train": spent.left_experiments,
        "planned FLOPs": rounded(spent.planned_flops),
        "FLOPs spent": rounded(spent.done_flops),
        "FLOPs still to spend": rounded(spent.left_flops),
        "device-hours spent": rounded(spent.done_hours),
        "device-hours still to spend": rounded(spent.left_hours),
        "hours to train": rounded(spent.left_wall_hours),
        **_money(spent),
        "dropped grid points": len(plan.dropped),
        "file": file,
    }
    if plan.notes:
        shown["notes"] = MetadataValue.md("\n".join(f"- {note}" for note in plan.notes))
    if plan.dropped:
        shown["dropped"] = dropped_table(plan)
    return finite(shown | about)


def _override(overrides: Mapping[str, Any]) -> Metadata:
    if not overrides:
        return {}
    text = ", ".join(f"`{name} = {value}`" for name, value in overrides.items())
    said = f"{text} instead of the study's, until the study changes or the sweep is planned again"
    return {"override": MetadataValue.md(said)}


def state_text(plan: SweepPlan, spent: Spending) -> str:
    """How far the plan is and what is left of it, in a short line, as the page cuts long ones off."""
    done = len(plan.trainings) - spent.left_experiments
    return f"{done} of {len(plan.trainings)} trained, {left_text(spent)}"


def left_text(spent: Spending) -> str:
    """`1.40e+11 FLOPs, 2 min and $1.20 left`, the time being until the last worker is done."""
    money = f" and {format_money(spent.left_money)}" if spent.price_per_hour else ""
    left = f"{format_flops(spent.left_flops)} FLOPs, {format_seconds(3600 * spent.left_wall_hours)}{money} left"
    return left if spent.left_experiments else "nothing left to train"


def total_text(plan: SweepPlan, cost: CostEstimate, spent: Spending) -> str:
    """FLOPs, time and money of the whole plan, as of nothing done yet."""
    money = f", {format_money(cost.money)}" if spent.price_per_hour else ""
    workers = f"{cost.workers} worker{'s' if cost.workers > 1 else ''}"
    return f"{format_flops(spent.planned_flops)} FLOPs, {format_seconds(cost.wall_seconds)} on {workers}{money}"


def _money(spent: Spending) -> Metadata:
    """What was paid and will be, where device-hours have a price."""
    if not spent.price_per_hour:
        return {}
    return {"cost so far": rounded(spent.done_money), "cost still to spend": rounded(spent.left_money)}


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


def budget_table(plan: SweepPlan, cost: CostEstimate, price_per_hour: float) -> MetadataValue:
    """One row per budget, narrow enough for a laptop: experiments, parameters, tokens, device time and money of all."""
    rows = []
    for name, experiments in budget_groups(plan):
        hours = sum(cost.seconds[item.experiment_id] for item in experiments) / 3600
        rows.append(
            (
                name,
                len(experiments),
                _span(item.num_params for item in experiments),
                _span(item.num_tokens for item in experiments),
                format_seconds(hours * 3600),
                *([format_money(hours * price_per_hour)] if price_per_hour else []),
            )
        )
    headers = ("budget", "runs", "parameters", f"{plan.data_unit}s", "time", *(["cost"] if price_per_hour else []))
    return inline_table(headers, rows)


def budget_groups(plan: SweepPlan) -> list[tuple[str, list[Experiment]]]:
    """The trainings of each budget under its name, and the checks of the rate, if there are any, under theirs."""
    groups = [(format_flops(budget), experiments) for budget, experiments in plan.by_budget().items()]
    return [*groups, *([("checks of the rate", plan.checks)] if plan.checks else [])]


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


def plan_table(plan: SweepPlan, results: Mapping[str, ExperimentResult]) -> MetadataValue:
    """One row per shown training, as narrow as they can be told by; the file has all there is of each.

    A check of the learning rate has the rate that it tries.
    """
    records = []
    checks = {item.experiment_id: f"{dict(item.tuned)['learning_rate']:.3g}" for item in plan.checks}
    seeds = len({item.seed for item in plan.trainings}) > 1
    for item in shown_experiments(plan, results):
        result = results.get(item.experiment_id)
        records.append(
            TableRecord(
                {
                    "budget": format_flops(item.compute_budget),
                    plan.size_header: item.size_cell,
                    **{name: str(item.arguments.get(name, "")) for name in plan.argument_names},
                    **({"seed": item.seed} if seeds else {}),
                    "params": format_count(item.num_params),
                    **{name: format_count(getattr(item, f"{name}_params") or 0) for name in plan.other_counts},
                    f"{plan.data_unit}s": format_count(item.num_tokens),
                    "D/N": f"{item.tokens_per_param:.3g}",
                    "when planned": state_of(result) if result else "to train",
                    **({"rate": checks.get(item.experiment_id, "")} if checks else {}),
                }
            )
        )
    numeric = set() if plan.has_labels else {plan.size_param}
    columns = list(records[0].data) if records else ["budget"]
    kinds = {"seed": "int", **dict.fromkeys(numeric, "int")}
    return MetadataValue.table(
        records, TableSchema(columns=[TableColumn(name, kinds.get(name, "string")) for name in columns])
    )


def _left_out_of_table(plan: SweepPlan) -> Metadata:
    left_out = len(plan.trainings) - MOST_ROWS
    if left_out <= 0:
        return {}
    said = f"{MOST_ROWS} of {len(plan.trainings)} experiments, those still to train first; the file has all"
    return {"plan table shows": said}


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
