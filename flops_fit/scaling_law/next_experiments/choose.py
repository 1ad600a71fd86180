"""Which candidates to train next, in order, each with its reason and what it is expected to bring."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from flops_fit.basics.formatting import format_flops
from flops_fit.scaling_law.approaches.isoflop import isoflop_minima
from flops_fit.scaling_law.fitted import FittedLaw
from flops_fit.scaling_law.next_experiments.candidate import Candidate, Points, Suggestion, points_of
from flops_fit.scaling_law.next_experiments.expected import Outlook, outlook
from flops_fit.scaling_law.next_experiments.ladder import Known, climbed, rungs
from flops_fit.scaling_law.next_experiments.narrowing import looks_straight, narrowing
from flops_fit.scaling_law.next_experiments.valley import distance_from_optimum
from flops_fit.scaling_law.next_experiments.width import combined
from flops_fit.scaling_law.table.runs import Runs

CLIMB = 10**0.5  # where no total is said: how much more than so far a ladder may cost at least
NEAR = 1.5  # of the optimum


def choose(
    trained: Points,
    usable: Runs | None,
    candidates: Sequence[Candidate],
    n: int,
    *,
    target: float,
    quantity: str,
    law: FittedLaw | None,
    planned: Sequence[Candidate] = (),
    flops_left: float | None = None,
    tokens_per_param: float = 20.0,
    more_follow: bool = False,
) -> tuple[Suggestion, ...]:
    """As `next_experiments`, of which the arguments are checked; `trained` are all runs, `usable` those with a loss."""
    minima = isoflop_minima(usable) if usable is not None else ()
    distance, centre = distance_from_optimum(law, minima, tokens_per_param)
    given, ahead = points_of(candidates), points_of(planned)
    known = trained + ahead
    free = np.flatnonzero(~given.among(known))
    open_ = given.only(free)
    state = Known(open_=open_, open_distance=distance(open_), done=known, done_distance=distance(known))
    view = outlook(law, target, given + ahead) if law is not None else None
    for index in range(len(given), len(given) + len(ahead)):
        view = view and view.after(index)
    order = np.array([], dtype=int)
    if (
        more_follow
        and view is not None
        and flops_left is not None
        and looks_straight(law)
        and climbed(state, float(known.C.sum()) + flops_left)  # before, a bend may not have shown
    ):
        order = narrowing(view, open_, free, state.open_distance, n, flops_left, quantity)
    if not len(order):
        order = free[_affordable(state, n, flops_left)]
    found: list[Suggestion] = []
    for index in order.tolist():
        chosen = given.only(np.array([index]))
        reason = _reason(chosen, known, float(distance(chosen)[0]), centre)
        suggestion, view = _with_widths(candidates[index], reason, view, index, quantity)
        found.append(suggestion)
        known = known + chosen
    return tuple(found)


def _affordable(state: Known, n: int, flops_left: float | None) -> np.ndarray:
    """The first `n` rungs of the ladder that the FLOPs reach to, (chosen,)."""
    spent = float(state.done.C.sum())
    if flops_left is not None:
        rung = rungs(state, spent + flops_left)
        return np.array(rung[:n], dtype=int)
    all_of_it = rungs(state, np.inf)
    if len(all_of_it) <= n:
        return np.array(all_of_it, dtype=int)
    total = max(spent, float(state.open_.C.min()))
    while len(rung := rungs(state, total := total * CLIMB)) < n:
        pass
    return np.array(rung[:n], dtype=int)


def _with_widths(
    candidate: Candidate, reason: str, view: Outlook | None, index: int, quantity: str
) -> tuple[Suggestion, Outlook | None]:
    if view is None:
        return Suggestion(candidate=candidate, reason=reason, width_before=None, width_after=None), None
    after = view.after(index)
    expected = after.widths()
    suggestion = Suggestion(
        candidate=candidate,
        reason=reason,
        width_before=combined(view.widths(), quantity),
        width_after=combined(expected, quantity),
        widths_after=expected,
    )
    return suggestion, after


def _reason(chosen: Points, known: Points, distance: float, centre: str) -> str:
    """In words, where the chosen lies."""
    compute, factor = float(chosen.C[0]), float(np.exp(abs(distance)))
    place = f"near {centre}" if factor < NEAR else f"{factor:.1f}x {'above' if distance > 0 else 'below'} {centre}"
    largest = "" if len(known) and compute <= known.C.max() * 1.05 else ", the largest compute so far"
    return f"{place} at {format_flops(compute)} FLOPs{largest}"
