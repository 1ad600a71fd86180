"""Of a mixture of experts: what the law's N is in all parameters, and in those that a token meets."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from flops_fit.basics.diagnostic import Diagnostic
from flops_fit.basics.formatting import format_count, format_flops

if TYPE_CHECKING:
    from flops_fit.scaling_law.fitted import FittedLaw
    from flops_fit.sweep.experiment import Experiment


def experts_finding(
    law: FittedLaw, experiments: Sequence[Experiment], param_count: str, budgets: Sequence[float]
) -> tuple[Diagnostic, ...]:
    """Both counts at N_opt of `budgets`, as powers of N between those of the experiments and beyond; none where a token
    meets all parameters, or the law has no N_opt."""
    counted = {
        item.num_params: (item.num_params, item.total_params, item.active_params)
        for item in experiments
        if item.total_params and item.active_params
    }
    if len(counted) < 2:
        return ()
    known = np.log(np.array([counted[number] for number in sorted(counted)], dtype=float))  # (sizes, 3)
    said = []
    for budget in budgets:
        optimum = float(law.N_opt(budget))
        if 0 < optimum < math.inf:
            total, active = (math.exp(_at(known[:, 0], known[:, which], math.log(optimum))) for which in (1, 2))
            said.append(
                f"N_opt = {format_count(optimum)} at {format_flops(budget)} FLOPs is {format_count(total)} in all, of "
                f"which a token meets {format_count(active)}"
            )
    if not said:
        return ()
    message = f"a mixture of experts, whose N is {param_count} parameters: {'; '.join(said)}"
    remedy = 'nothing: give param_count = "active" or "total" to have the other as N'
    return (Diagnostic(code="mixture_of_experts", severity="info", message=message, remedy=remedy),)


def _at(xs: np.ndarray, ys: np.ndarray, x: float) -> float:
    """`ys` at `x`: linear between the `xs`, and beyond with the slope at that end."""
    right = int(np.clip(np.searchsorted(xs, x), 1, len(xs) - 1))
    slope = (ys[right] - ys[right - 1]) / (xs[right] - xs[right - 1])
    return float(ys[right] + slope * (x - xs[right]))
