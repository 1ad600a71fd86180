"""What the page of `sweep_plan` shows of trunks that experiments share."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flops_fit.basics.formatting import format_count, format_flops
from flops_fit.cost.estimate import CostEstimate
from flops_fit.recipe.trunk import by_trunk
from flops_fit_assets.metadata.shared import Metadata, inline_table

if TYPE_CHECKING:
    from flops_fit.sweep.sweep_plan import SweepPlan


def trunks_metadata(plan: SweepPlan, cost: CostEstimate) -> Metadata:
    """One row per trunk: the experiments that branch from it, and what they train together and would alone; nothing
    where none is shared."""
    trunks = by_trunk(plan.experiments)
    seeds = len({item.seed for item in plan.experiments}) > 1
    rows = [
        (
            mine[0].size_cell,
            *([mine[0].seed] if seeds else []),
            len(mine),
            ", ".join(format_flops(item.compute_budget) for item in mine),
            format_count(mine[-1].num_tokens),
            format_flops(sum(map(cost.own_flops, mine))),
            format_flops(sum(item.planned_flops for item in mine)),
        )
        for mine in sorted(trunks.values(), key=lambda mine: (mine[0].num_params, mine[0].seed))
    ]
    seed = ["seed"] if seeds else []
    headers = (plan.size_header, *seed, "branches", "at budgets", f"longest, {plan.data_unit}s", "FLOPs", "FLOPs alone")
    return {"trunks": inline_table(headers, rows)} if rows else {}
