"""A plan of very many experiments on the terminal: a row for each budget in place of one for each experiment."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from flops_fit.basics.formatting import format_count, format_flops, format_money, format_seconds
from flops_fit.basics.terminal import plain_table

if TYPE_CHECKING:
    from rich.table import Table

    from flops_fit_assets.commands.planned import Planned

MOST_ROWS = 300  # experiments that are listed one by one


def by_budget_table(found: Planned) -> Table:
    """Of each budget: experiments, how many have a final result, from which to which size, and what they cost."""
    plan, price = found.plan, found.study.hardware.price_per_hour
    headers = ["budget", "runs", "done", "params", f"{plan.data_unit}s", "time", *(["cost"] if price else [])]
    table = plain_table(headers)
    for budget, experiments in plan.by_budget().items():
        seconds = sum(found.cost.seconds[item.experiment_id] for item in experiments)
        table.add_row(
            format_flops(budget),
            f"{len(experiments):,}",
            f"{sum(item.experiment_id in found.done for item in experiments):,}",
            _span(item.num_params for item in experiments),
            _span(item.num_tokens for item in experiments),
            format_seconds(seconds),
            *([format_money(seconds / 3600 * price)] if price else []),
        )
    return table


def _span(counts: Iterable[int]) -> str:
    found = sorted(counts)
    ends = [format_count(count) for count in (*found[:1], *found[-1:])]
    return " to ".join(dict.fromkeys(ends))
