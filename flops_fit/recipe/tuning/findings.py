"""What to know of a recipe law before it is used."""

from __future__ import annotations

import math

import numpy as np

from flops_fit.recipe.tuning.posterior import Posterior, Problem
from flops_fit.recipe.tuning.recipe_law import Finding, RecipeLaw

AT_PRIOR = 0.8  # an exponent whose sd is this share of what was believed rests on the belief
WIDE = math.log(2.0)  # sd of ln optimum in the middle of the trials
NOISY = 0.01  # sd of log loss between trainings


def findings_of(law: RecipeLaw, posterior: Posterior, problem: Problem) -> tuple[Finding, ...]:
    """Optimum at the edge, undetermined, exponents that rest on belief, much noise, many diverged."""
    found = [finding for name in law.names for finding in _of_quantity(law, name, posterior, problem)]
    if law.diverged > law.tried / 2:
        found.append(
            Finding(
                code="mostly_diverged",
                severity="warning",
                message=f"{law.diverged} of {law.tried} trials diverged",
                remedy="lower the guess of the learning rate or its upper bound",
            )
        )
    if law.noise > NOISY:
        found.append(
            Finding(
                code="noisy",
                severity="warning",
                message=f"losses differ from the law by {law.noise:.1%}, so small differences cannot be seen",
                remedy="evaluate on more held-out data, or train more trials",
            )
        )
    return tuple(found)


def _of_quantity(law: RecipeLaw, name: str, posterior: Posterior, problem: Problem) -> list[Finding]:
    at, found = law.names.index(name), []
    middle_sd = math.sqrt(law.covariance[3 * at, 3 * at])
    side = _open_side(at, posterior, problem)
    if side:
        found.append(
            Finding(
                code="at_edge",
                severity="warning",
                message=f"the best {name} lies at the {side} end of what was tried",
                remedy=f"train trials with {'lower' if side == 'lower' else 'higher'} {name}, or widen its bounds",
            )
        )
    if not law.low[at] <= (best := law.optimum(name, *law.origin)) <= law.high[at]:
        found.append(
            Finding(
                code="out_of_bounds",
                severity="warning",
                message=f"the best {name}, {best:.3g}, lies out of its bounds [{law.low[at]:.3g}, {law.high[at]:.3g}]",
                remedy=f"widen the bounds of {name}",
            )
        )
    if middle_sd > WIDE:
        found.append(
            Finding(
                code="undetermined",
                severity="warning",
                message=f"the best {name} is known to a factor {math.exp(middle_sd):.2g} only",
                remedy="train more trials, further apart",
            )
        )
    for which, letter in ((1, "N"), (2, "D")):
        start = problem.surface.part("pq"[which - 1]).start + at
        believed = problem.sd[start]
        if math.sqrt(law.covariance[3 * at + which, 3 * at + which]) > AT_PRIOR * believed:
            found.append(
                Finding(
                    code="exponent_from_belief",
                    severity="info",
                    message=f"how {name} moves with {letter} rests on what was believed before, not on these trials",
                    remedy=f"train trials at {letter} further apart",
                )
            )
    return found


def _open_side(at: int, posterior: Posterior, problem: Problem) -> str | None:
    """ "lower" or "upper" where no trial lies beyond the optimum on that side."""
    had, surface = problem.evidence, problem.surface
    u = surface.offsets(posterior.theta, had.x, had.place, had.cell)
    v = (u @ surface.turned(posterior.theta).T)[:, at]
    above = v > 0
    if not (above & (had.done | problem.upward[at])).any():
        return "upper"
    return None if np.any(~above & had.done) else "lower"
