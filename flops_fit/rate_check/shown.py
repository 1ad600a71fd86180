"""The check of the learning rate as rows of a table."""

from __future__ import annotations

from flops_fit.basics.formatting import format_count, format_flops, format_loss
from flops_fit.rate_check.rate_check import CheckedBudget, Range, RateCheck

HEADERS = ("budget", "N", "rate used", "loss at half, used, double", "best over used, 90 %", "cost, 90 %")


def check_rows(check: RateCheck) -> list[tuple[str, ...]]:
    """A row for each checked budget, and one for the largest where it was not checked itself."""
    rows = [_row(item) for item in check.budgets]
    if check.known and check.known[-1].compute_budget != check.largest:
        judged = (factor_text(check.best_over_used_at_largest), share_text(check.cost_at_largest))
        rows.append((f"{format_flops(check.largest)}, carried on", *3 * ("–",), *judged))
    return rows


def _row(item: CheckedBudget) -> tuple[str, ...]:
    losses = [
        state if loss is None else format_loss(loss) for loss, state in zip(item.losses, item.states, strict=True)
    ]
    judged = (factor_text(item.best_over_used), share_text(item.cost)) if item.is_known else ("–", "cannot be told")
    rate = f"{item.rates[1]:.3g}"
    return (format_flops(item.compute_budget), format_count(item.num_params), rate, ", ".join(losses), *judged)


def factor_text(of: Range) -> str:
    """`(0.5, 1, 2) -> "1 (0.5 to 2)"`."""
    low, middle, high = of
    return f"{middle:.2g} ({low:.2g} to {high:.2g})"


def share_text(of: Range) -> str:
    """`(0, 0.01, 0.02) -> "1.00% (0.00% to 2.00%)"`."""
    low, middle, high = of
    return f"{middle:.2%} ({low:.2%} to {high:.2%})"
