"""What each asset shows of itself in Dagster: tables, numbers that plot over time and partitions, figures, files."""

from __future__ import annotations

import base64
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dagster import MetadataValue, TableColumn, TableRecord, TableSchema

from flops_fit.basics.formatting import (
    format_bytes,
    format_count,
    format_flops,
    format_money,
    format_seconds,
    markdown_table,
)
from flops_fit.cost.estimate import CostEstimate
from flops_fit.cost.hardware import Hardware
from flops_fit.cost.spending import Spending
from flops_fit.results.results import ExperimentResult

if TYPE_CHECKING:
    from flops_fit.sizes.size_map import SizeMap
    from flops_fit.sweep.experiment import Experiment
    from flops_fit.sweep.sweep_plan import SweepPlan
    from flops_fit_assets.publish import Figure

Metadata = dict[str, Any]
_ROWS = 60  # of a table shown inline; the file has all


def finite(shown: Metadata) -> Metadata:
    """The same with NaN and infinity as text: JSON, in which Dagster's pages get their numbers, has neither."""
    odd = {name: str(value) for name, value in shown.items() if isinstance(value, float) and not math.isfinite(value)}
    return shown | odd


def size_map_metadata(size_map: SizeMap, path: Path) -> Metadata:
    """The table of sizes, the conventions, and what was skipped."""
    entries = size_map.entries
    headers = (size_map.size_param, f"parameters ({size_map.param_count})", "FLOPs per token", "counted by")
    rows = [
        (entry.size, f"{entry.num_params:,}", format_flops(entry.flops_per_token), entry.source) for entry in entries
    ]
    shown = {
        "model": size_map.model_name,
        "sizes": len(entries),
        "smallest": size_map.label(entries[0]),
        "largest": size_map.label(entries[-1]),
        "FLOPs per token": size_map.flops_method,
        "size table": _markdown(headers, rows),
        "skipped sizes": len(size_map.skipped),
        "file": MetadataValue.path(str(path)),
    }
    if size_map.skipped:
        shown["skipped"] = _markdown(("size", "reason"), [(item.size, item.reason) for item in size_map.skipped])
    if size_map.notes:
        shown["notes"] = MetadataValue.md("\n".join(f"- {note}" for note in size_map.notes))
    return finite(shown)


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
        "budgets": budget_table(plan, cost, done, spent.price_per_hour),
        "plan table": plan_table(plan, cost, results),
        "experiments": plan.num_experiments,
        "experiments to train": spent.left_experiments,
        "planned FLOPs": spent.planned_flops,
        "FLOPs spent": spent.done_flops,
        "FLOPs still to spend": spent.left_flops,
        "device-hours spent": spent.done_hours,
        "device-hours still to spend": spent.left_hours,
        "hours to train": spent.left_wall_hours,
        "cost so far": spent.done_money,
        "cost still to spend": spent.left_money,
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


def limits_text(spent: Spending, hardware: Hardware) -> str:
    """What is left to spend against what may be spent."""
    if not hardware.limits:
        return "no limit given: max_cost and max_hours of [hardware]"
    left = f"{format_money(spent.left_money)} and {format_seconds(3600 * spent.left_wall_hours)} still to spend"
    allowed = ", ".join(f"{name} = {value:g}" for name, value in hardware.limits.items())
    return f"{left}, within {allowed} ({spent.basis})"


def budget_table(
    plan: SweepPlan, cost: CostEstimate, done: Mapping[str, ExperimentResult], price_per_hour: float
) -> MetadataValue:
    """One row per budget: sizes, tokens, planned, done and remaining FLOPs, device time and money."""
    rows = []
    for budget in plan.compute_budgets:
        experiments = [item for item in plan.experiments if item.compute_budget == budget]
        left = [item for item in experiments if item.experiment_id not in done]
        hours = sum(cost.seconds[item.experiment_id] for item in experiments) / 3600
        rows.append(
            (
                format_flops(budget),
                len(experiments),
                _span(item.num_params for item in experiments),
                _span(item.num_tokens for item in experiments),
                format_flops(sum(item.planned_flops for item in experiments)),
                format_flops(sum(item.planned_flops for item in left)),
                format_seconds(hours * 3600),
                *([format_money(hours * price_per_hour)] if price_per_hour else []),
            )
        )
    headers = ("budget", "experiments", f"parameters ({plan.param_count})", f"{plan.data_unit}s", "planned FLOPs",
               "still to spend", "device time", *(["cost"] if price_per_hour else []))  # fmt: skip
    return _markdown(headers, rows)


def plan_table(plan: SweepPlan, cost: CostEstimate, results: Mapping[str, ExperimentResult]) -> MetadataValue:
    """One row per experiment, sortable in the page."""
    records = []
    for item in plan.experiments:
        result = results.get(item.experiment_id)
        records.append(
            TableRecord(
                {
                    "budget": format_flops(item.compute_budget),
                    item.size_param: item.size_param_value,
                    "parameters": item.num_params,
                    "tokens": item.num_tokens,
                    "tokens per parameter": round(item.tokens_per_param, 1),
                    "planned FLOPs": format_flops(item.planned_flops),
                    "peak memory": _bytes(cost.memory_bytes[item.experiment_id]),
                    "device time": format_seconds(cost.seconds[item.experiment_id]),
                    "state": state_of(result) if result else "to train",
                    "loss": "" if result is None or result.loss is None else f"{result.loss:.4f}",
                    "id ends in": item.experiment_id.rpartition("-")[2],  # whole, it would break over four lines
                }
            )
        )
    numeric = {plan.size_param, "parameters", "tokens"}
    columns = list(records[0].data) if records else ["id ends in"]
    schema = TableSchema(
        columns=[
            TableColumn(name, "int" if name in numeric else "float" if name == "tokens per parameter" else "string")
            for name in columns
        ]
    )
    return MetadataValue.table(records, schema)


def state_of(result: ExperimentResult) -> str:
    """`"completed"`, `"imported"`, `"imported, diverged"`, …"""
    if result.source == "trained":
        return result.status
    return result.source if result.status == "completed" else f"{result.source}, {result.status}"


def _bytes(number: float | None) -> str:
    return "" if number is None else format_bytes(number)


def dropped_table(plan: SweepPlan) -> MetadataValue:
    """The grid points that are not in the plan, with the reason of each."""
    rows = [
        (format_flops(item.compute_budget), format_count(item.num_params), item.size_param_value or "", item.reason)
        for item in plan.dropped
    ]
    return _markdown(("budget", "parameters", plan.size_param, "reason"), rows)


def experiment_metadata(experiment: Experiment) -> Metadata:
    """The planned numbers of one partition of `experiment`."""
    shown = {
        "compute budget": experiment.compute_budget,
        experiment.size_param: experiment.size_param_value,
        "parameters": experiment.num_params,
        "tokens": experiment.num_tokens,
        "tokens per parameter": experiment.tokens_per_param,
        "planned FLOPs": experiment.planned_flops,
        "seed": experiment.seed,
    }
    return finite(shown)


def run_metadata(
    experiment: Experiment, result: ExperimentResult, predicted_seconds: float, hardware: Hardware, path: Path
) -> Metadata:
    """What one training did and cost, against what was planned."""
    rate = result.flops / result.seconds if result.seconds else 0.0
    peak = hardware.flops_per_second / hardware.utilisation
    measured = {
        "seconds": result.seconds,
        "seconds predicted": predicted_seconds,
        "seconds over predicted": result.seconds / predicted_seconds if predicted_seconds else math.nan,
        "tokens per second": result.tokens_per_second,
        "FLOP/s": rate,
        "utilisation": rate / peak,
        "cost": result.seconds / 3600 * hardware.price_per_hour,
    }
    losses = {"held-out loss": result.loss, "training loss": result.train_loss}
    shown = {
        "status": result.status,
        **({"reason": result.reason} if result.reason else {}),
        **{name: loss for name, loss in losses.items() if loss is not None},
        "compute budget": experiment.compute_budget,
        result.size_param: result.size_param_value,
        "parameters": result.num_params,
        "tokens": result.num_tokens,
        "FLOPs": float(result.flops),
        "FLOPs over budget": float(result.flops / experiment.compute_budget),
        **{name: float(f"{value:.5g}") for name, value in measured.items()},
        "optimizer steps": result.steps,
        "device": result.device,
        "source": result.source,
        "file": MetadataValue.path(str(path)),
    }
    if result.source == "trained":
        log = path.with_name("trainer.log" if path.with_name("trainer.log").exists() else "log.jsonl")
        shown |= {"training log": MetadataValue.path(str(log))}
    if result.epochs is not None:
        shown |= {"epochs": result.epochs}
    return finite(shown)


def figure_markdown(figure: Figure) -> MetadataValue:
    """A figure inside Dagster's page, as an image in Markdown."""
    return MetadataValue.md(f"![{figure.title}](data:image/png;base64,{base64.b64encode(figure.png).decode()})")


def _markdown(headers: Iterable[str], rows: Iterable[tuple[Any, ...]]) -> MetadataValue:
    rows = list(rows)
    text = markdown_table(list(headers), rows[:_ROWS])
    if len(rows) > _ROWS:
        text += f"\n\n… and {len(rows) - _ROWS} more rows in the file"
    return MetadataValue.md(text)


def _span(values: Iterable[float]) -> str:
    numbers = sorted(values)
    if not numbers:
        return "none"
    return f"{format_count(numbers[0])} to {format_count(numbers[-1])}"
