"""How much the log loss of one training scatters, as the runs of a law show it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from flops_fit.scaling_law.fitted import FittedLaw

LEAST_FREEDOM = 4  # below that the budgets' own curves say nothing of the scatter about them


def noise_of(law: FittedLaw) -> float:
    """The scatter about the law, or about each budget's own parabola where that is less.

    The form's misfit is a part of both, which makes either too large: where a law bends, the one about the law several
    times. Relative to the loss; robust about the law, root mean square over all budgets about their parabolas.
    """
    squares, freedom = 0.0, 0
    for budget in np.unique(law.runs.budget[np.isfinite(law.runs.budget)]):
        mine = law.runs.budget == budget
        x, y = np.log(law.runs.num_params[mine]), np.log(law.runs.loss[mine])
        if len(np.unique(x)) > 3:
            about = np.polynomial.Polynomial.fit(x, y, 2)
            squares, freedom = squares + float(((y - about(x)) ** 2).sum()), freedom + len(x) - 3
    return min(law.sigma, (squares / freedom) ** 0.5) if freedom >= LEAST_FREEDOM else law.sigma
