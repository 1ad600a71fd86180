"""Compute budgets that are nearly equal, which would be trained twice over, are one."""

from __future__ import annotations

from collections.abc import Sequence

from flops_fit.basics.formatting import format_flops

NEAR = 0.01  # of the budget: half of what a training may be off its plan


def one_of_near(budgets: Sequence[float]) -> tuple[tuple[float, ...], list[str]]:
    """The budgets without those within 1 % of an earlier one, and a sentence for each of these.

    The earlier one stays whatever is added after it, ids included. A budget that is repeated exactly stays as it is.
    """
    kept: list[float] = []
    said = []
    for budget in budgets:
        near = next((other for other in kept if other != budget and abs(other - budget) <= NEAR * other), None)
        if near is None:
            kept.append(budget)
        else:
            said.append(
                f"compute_budgets has {near:.12g} and {budget:.12g} FLOPs, within 1 % of each other; they are planned "
                f"as one, {format_flops(near)} FLOPs"
            )
    return tuple(kept), said
