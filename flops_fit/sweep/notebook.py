"""A plan as a notebook shows it: its budgets, their total, and what speaks against it."""

from __future__ import annotations

import html
from typing import TYPE_CHECKING, Any

from flops_fit.basics.formatting import format_count, format_flops
from flops_fit.basics.html_output import boxed, plain_table

if TYPE_CHECKING:
    from flops_fit.sweep.experiment import Experiment

MOST_NOTES = 8  # and points that are not planned, that are said one by one


def plan_html(plan: Any) -> str:
    """Of a `SweepPlan` a table with a row for each budget and one for all, what was not planned and why, and notes."""
    unit = f"{plan.data_unit}s"
    headers = ("Budget (FLOPs)", "Trainings", plan.size_header, f"N ({plan.param_count})", unit, "D/N", "FLOPs")
    rows = [_row(format_flops(budget), of_budget) for budget, of_budget in plan.by_budget().items()]
    if len(rows) > 1:
        rows.append(_row("all", plan.experiments))
    said = [f"not planned at {format_flops(point.compute_budget)} FLOPs: {point.reason}" for point in plan.dropped]
    said += [*plan.notes, *([f"{len(plan.checks)} checks of the recipe besides"] if plan.checks else [])]
    more = len(said) - MOST_NOTES
    said = said[:MOST_NOTES] + ([f"… and {more} more; print(plan.summary()) has all"] if more > 0 else [])
    said += [plan.too_few] if plan.too_few else []
    listed = "".join(f"<li>{html.escape(line)}</li>" for line in said)
    title = f"<b>{html.escape(plan.model_cls_name)}</b>, {html.escape(repr(plan))}"
    return boxed(f"<p>{title}</p>{plain_table(headers, rows)}" + (f"<ul>{listed}</ul>" if listed else ""))


def _row(name: str, experiments: list[Experiment]) -> tuple[str, ...]:
    if not experiments:
        return (name, "0", "", "", "", "", "")
    ordered = sorted(experiments, key=lambda item: item.num_params)
    sizes = [str(item.size_cell) for item in (ordered[0], ordered[-1])]
    return (
        name,
        str(len(experiments)),
        _span(*sizes),
        _span(*(format_count(item.num_params) for item in (ordered[0], ordered[-1]))),
        _span(*(format_count(end(item.num_tokens for item in experiments)) for end in (min, max))),
        _span(*(f"{end(item.tokens_per_param for item in experiments):.3g}" for end in (min, max))),
        format_flops(sum(item.planned_flops for item in experiments)),
    )


def _span(first: str, last: str) -> str:
    return first if first == last else f"{first} to {last}"
