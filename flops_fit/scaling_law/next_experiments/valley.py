"""Where the optimum is believed to be, from what is known so far: the law, the runs' own curves, or a prior."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from flops_fit.scaling_law.approaches.isoflop import IsoflopMinimum, fit_power_law
from flops_fit.scaling_law.fitted import FittedLaw
from flops_fit.scaling_law.next_experiments.candidate import Points

Distance = Callable[[Points], np.ndarray]  # ln N over N_opt of the same compute


def distance_from_optimum(
    law: FittedLaw | None, minima: tuple[IsoflopMinimum, ...], tokens_per_param: float
) -> tuple[Distance, str]:
    """`ln(N/N_opt)` of experiments, and where N_opt comes from, in words.

    The law's where the runs determine one; else a power law through the interior minima of their budgets (with one,
    growing as sqrt(C)); else where D/N is `tokens_per_param`: at fixed compute D/N falls as N^-2.
    """
    if law is not None and law.determined:
        return lambda points: np.log(points.N / law.N_opt(points.C)), "the optimum"
    inside = [minimum for minimum in minima if minimum.interior]
    if inside:
        C, N = np.array([(minimum.compute_budget, minimum.N) for minimum in inside]).T
        if len(inside) > 1 and np.ptp(np.log(C)) > 1:
            line = fit_power_law(C, N)
            return lambda points: np.log(points.N / line(points.C)), "the minima so far"
        centre = float(np.mean(np.log(N) - np.log(C) / 2))
        return lambda points: np.log(points.N) - centre - np.log(points.C) / 2, "the minimum so far"
    return (
        lambda points: np.log(tokens_per_param * points.N / points.D) / 2,
        f"{tokens_per_param:g} tokens per parameter",
    )
