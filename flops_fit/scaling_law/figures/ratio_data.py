"""Tokens per parameter against compute: the numbers of the figure."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from flops_fit.scaling_law.figures.plot_data import drawn_runs, run_names
from flops_fit.scaling_law.fitted import FittedLaw

CHINCHILLA_TOKENS_PER_PARAM = 20.0


@dataclass(frozen=True, kw_only=True, eq=False)
class RatioData:
    """D/N at the law's optimum of C FLOPs with its 90 % band (low, high), of the runs, and at the budgets' own
    minima."""

    C: np.ndarray
    ratio: np.ndarray
    band: np.ndarray
    run_C: np.ndarray
    run_ratio: np.ndarray
    run_names: tuple[str, ...]
    minimum_C: np.ndarray
    minimum_ratio: np.ndarray
    C_fitted: tuple[float, float]


def ratio_data(law: FittedLaw, *, beyond: float = 100.0, count: int = 30) -> RatioData:
    """D/N from the smallest run's compute to `beyond` times the largest's."""
    runs, drawn = law.runs, drawn_runs(law)
    low, high = float(runs.flops.min()), float(runs.flops.max())
    C = np.geomspace(low, high * beyond, count)
    interior = [minimum for minimum in law.isoflops if minimum.interior]
    return RatioData(
        C=C,
        ratio=law.D_opt(C) / law.N_opt(C),
        band=np.array([law.interval("tokens_per_param", compute) for compute in C]),
        run_C=runs.flops[drawn],
        run_ratio=(runs.num_tokens / runs.num_params)[drawn],
        run_names=run_names(law),
        minimum_C=np.array([minimum.compute_budget for minimum in interior]),
        minimum_ratio=np.array([minimum.D / minimum.N for minimum in interior]),
        C_fitted=(low, high),
    )
