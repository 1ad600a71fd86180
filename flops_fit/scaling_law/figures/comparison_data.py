"""What the figure of two laws shows, as plain arrays; `comparison_plot.py` draws it. Needs no matplotlib."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from flops_fit.scaling_law.comparison.paired import pair
from flops_fit.scaling_law.fitted import FittedLaw
from flops_fit.scaling_law.fitting.uncertainty import percentile_interval


@dataclass(frozen=True, kw_only=True, eq=False)
class ComparisonData:
    """L_opt of two laws against C with its 90 % bands, and the second's over the first's.

    `C`, `ratio` are (points,), `ratio_band` is (points, 2), `losses` (2, points), `bands` (2, points, 2); `fitted` is
    the range of compute that both laws' runs span, `crossings` (C, loss) where the curves cross.
    """

    C: np.ndarray
    losses: np.ndarray
    bands: np.ndarray
    ratio: np.ndarray
    ratio_band: np.ndarray
    fitted: tuple[float, float]
    crossings: tuple[tuple[float, float], ...]


def comparison_data(
    laws: Sequence[FittedLaw], targets: Sequence[float], crossings: Sequence[float], *, points: int = 40
) -> ComparisonData:
    """Two laws from the smallest run to the furthest of `targets` (FLOPs), or ten times the largest run."""
    pairs = pair(*laws)
    low = min(float(law.runs.flops.min()) for law in laws)
    high = max(float(law.runs.flops.max()) for law in laws)
    furthest = max([10 * high, *targets])
    C = np.geomspace(low, furthest, points)
    losses = np.array([law.L_opt(C) for law in laws])
    bands = np.array([[law.interval("L_opt", compute) for compute in C] for law in laws])
    drawn = [pairs.of("L_opt", compute) for compute in C]
    return ComparisonData(
        C=C,
        losses=losses,
        bands=bands,
        ratio=losses[1] / losses[0],
        ratio_band=np.array([percentile_interval(second / first, 0.9) for first, second in drawn]),
        fitted=(low, high),
        crossings=tuple((compute, float(laws[0].L_opt(compute))) for compute in crossings),
    )
