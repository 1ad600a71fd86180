"""What to know of a recipe law before it is used."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from flops_fit.basics.diagnostic import Diagnostic
from flops_fit.recipe.tuning.posterior import Posterior, Problem
from flops_fit.recipe.tuning.recipe_law import RecipeLaw

AT_PRIOR = 0.8  # an exponent whose sd is this share of what was believed rests on the belief
WIDE = math.log(2.0)  # sd of ln optimum in the middle of the trials
FLAT = 0.5  # width of an exponent's interval that is narrow enough to say that it is about 0
NOISY = 0.01  # sd of log loss between trainings


def findings_of(law: RecipeLaw, posterior: Posterior, problem: Problem) -> tuple[Diagnostic, ...]:
    """Optimum at the edge or undetermined, exponents that rest on belief or are about 0, noise, divergence."""
    found = []
    for at, name in enumerate(law.names):
        found += [*_of_optimum(law, name, at, posterior, problem), *_of_exponents(law, name, at, problem)]
    return tuple(found + list(_of_trials(law)))


def _of_trials(law: RecipeLaw) -> Iterator[Diagnostic]:
    if law.diverged > law.tried / 2:
        message = f"{law.diverged} of {law.tried} trials diverged"
        yield _warning("mostly_diverged", message, "lower the guess of the learning rate or its upper bound")
    if law.noise > NOISY:
        message = f"losses differ from the law by {law.noise:.1%}, so small differences cannot be seen"
        yield _warning("noisy", message, "evaluate on more held-out data, or train more trials")


def _of_optimum(law: RecipeLaw, name: str, at: int, posterior: Posterior, problem: Problem) -> Iterator[Diagnostic]:
    if side := _open_side(at, posterior, problem):
        remedy = f"train trials with {'lower' if side == 'lower' else 'higher'} {name}, or widen its bounds"
        yield _warning("at_edge", f"the best {name} lies at the {side} end of what was tried", remedy)
    best, low, high = law.optimum(name, *law.origin), law.low[at], law.high[at]
    if not low <= best <= high:
        message = f"the best {name}, {best:.3g}, lies out of its bounds [{low:.3g}, {high:.3g}]"
        yield _warning("out_of_bounds", message, f"widen the bounds of {name}")
    if (sd := math.sqrt(law.covariance[3 * at, 3 * at])) > WIDE:
        message = f"the best {name} is known to a factor {math.exp(sd):.2g} only"
        yield _warning("undetermined", message, "train more trials, further apart")


def _of_exponents(law: RecipeLaw, name: str, at: int, problem: Problem) -> Iterator[Diagnostic]:
    for which, letter in ((1, "N"), (2, "D")):
        believed = problem.sd[problem.surface.part("pq"[which - 1]).start + at]
        if math.sqrt(law.covariance[3 * at + which, 3 * at + which]) > AT_PRIOR * believed:
            message = f"how {name} moves with {letter} rests on what was believed before, not on these trials"
            remedy = f"train trials at {letter} further apart"
            yield Diagnostic(code="exponent_from_belief", severity="info", message=message, remedy=remedy)
    _, low, high = law.exponent(name, "num_params")
    if problem.upward[at] and low < 0 < high and high - low < FLAT:
        message = f"the best {name} hardly moves with N (N^{low:.2f} to N^{high:.2f}), as is expected with muP"
        remedy = "without muP, train trials at N further apart"
        yield Diagnostic(code="flat", severity="info", message=message, remedy=remedy)


def _warning(code: str, message: str, remedy: str) -> Diagnostic:
    return Diagnostic(code=code, severity="warning", message=message, remedy=remedy)


def _open_side(at: int, posterior: Posterior, problem: Problem) -> str | None:
    """ "lower" or "upper" where no trial lies beyond the optimum on that side."""
    had, surface = problem.evidence, problem.surface
    u = surface.offsets(posterior.theta, had.x, had.place, had.cell)
    above = (u @ surface.turned(posterior.theta).T)[:, at] > 0
    if not (above & (had.done | problem.upward[at])).any():
        return "upper"
    return None if np.any(~above & had.done) else "lower"
