"""Experiments that a law's own optimum proposes, for those who train elsewhere and can train any size."""

from __future__ import annotations

import numpy as np

from flops_fit.scaling_law.fitted import FittedLaw
from flops_fit.scaling_law.next_experiments.candidate import Candidate
from flops_fit.scaling_law.next_experiments.ladder import WIDTH

STEP = 10**0.5  # between budgets
SIZES = np.geomspace(1 / 4, 4, 9)  # of N_opt


def grid_of(law: FittedLaw, total: float, target: float) -> tuple[Candidate, ...]:
    """Nine sizes from N_opt/4 to 4·N_opt at budgets half a decade apart: from half of `total` FLOPs (or the target)
    down to the runs' largest budget, and from that down to their smallest."""
    largest, smallest = float(law.default_budgets()[-3]), float(law.runs.flops.min())
    beyond = largest * float(np.exp(WIDTH))
    top = min(total / 2 if total / 2 >= beyond else total, target)
    budgets = [*_down(top, beyond), *(budget for budget in _down(largest, smallest) if budget <= total)]
    found = []
    for compute in budgets:
        N = law.N_opt(compute) * SIZES
        D = compute / law.flops_per_token(N)
        found += [
            Candidate(num_params=n, num_tokens=d, flops=compute) for n, d in zip(N.tolist(), D.tolist(), strict=True)
        ]
    return tuple(found)


def _down(first: float, last: float) -> list[float]:
    """Budgets half a decade apart from `first` down to `last`; none where that is higher."""
    count = np.floor(np.log(first / last) / np.log(STEP) + 1e-9)
    return [first / STEP**k for k in range(int(count) + 1)]
