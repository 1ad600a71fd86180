"""next_experiments: which candidates to train next, in order, each with its reason and what it is expected to bring."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from flops_fit.basics.arguments import need, number, one_of, whole
from flops_fit.basics.formatting import format_flops
from flops_fit.errors import FitError
from flops_fit.scaling_law.approaches.isoflop import isoflop_minima
from flops_fit.scaling_law.fit import fit_scaling_law
from flops_fit.scaling_law.fitted import FittedLaw
from flops_fit.scaling_law.next_experiments.candidate import Candidate, Points, Suggestion, points_of
from flops_fit.scaling_law.next_experiments.expected import Outlook, outlook
from flops_fit.scaling_law.next_experiments.ladder import next_rung
from flops_fit.scaling_law.next_experiments.valley import distance_from_optimum
from flops_fit.scaling_law.next_experiments.width import QUANTITIES, combined
from flops_fit.scaling_law.table.columns import runs_frame
from flops_fit.scaling_law.table.runs import Runs, read_runs

FEWEST_FOR_LAW = 6


def next_experiments(
    runs: Any,
    candidates: Iterable[Candidate],
    n: int,
    *,
    target: float,
    quantity: str = "both",
    law: FittedLaw | None = None,
    planned: Sequence[Candidate] = (),
    flops_left: float | None = None,
    tokens_per_param: float = 20.0,
) -> tuple[Suggestion, ...]:
    """Up to `n` candidates to train next for the answer at `target` FLOPs, in order.

    Args:
        runs: what was trained, as `fit_scaling_law` takes it; may be empty. Failed runs are not suggested again.
        candidates: what may be trained.
        target: the compute that the answer is for, FLOPs.
        quantity: "N_opt", "L_opt" (also "loss") or "both": whose width is said.
        law: fitted to the runs, where it is at hand; else fitted here where there are at least 6.
        planned: chosen before and not trained yet: not chosen again, and taken as known.
        flops_left: what all suggestions together may cost.
        tokens_per_param: where the optimum is looked for before the runs say.

    Fewer than `n`, or none, where the candidates or the FLOPs are used up. Raises `FitError` for values outside their
    limits.
    """
    need("n", n, whole(), FitError)
    need("target", target, number(above=0), FitError)
    need("quantity", quantity, one_of(*QUANTITIES), FitError)
    need("tokens_per_param", tokens_per_param, number(above=0), FitError)
    if flops_left is not None:
        need("flops_left", flops_left, number(least=0), FitError)
    given = tuple(candidates)
    trained, usable = _trained(runs)
    law = law if law is not None else _law(usable)
    minima = isoflop_minima(usable) if usable is not None else ()
    distance, centre = distance_from_optimum(law, minima, tokens_per_param)
    open_, known, ahead = points_of(given), trained + points_of(planned), points_of(planned)
    view = outlook(law, target, open_ + ahead) if law is not None else None
    for index in range(len(ahead)):
        view = view and view.after(len(open_) + index)
    left = np.inf if flops_left is None else float(flops_left)
    free = ~open_.among(known)
    found: list[Suggestion] = []
    while len(found) < n:
        may = np.flatnonzero(free & (open_.C / left <= 1 + 1e-12)) if left > 0 else np.empty(0, dtype=int)
        if not len(may):
            break
        rung = next_rung(open_.only(may), known, distance(open_.only(may)), distance(known))
        if rung is None:
            break
        index = int(may[rung])
        chosen = open_.only(np.array([index]))
        reason = _reason(chosen, known, float(distance(chosen)[0]), centre)
        suggestion, view = _with_widths(given[index], reason, view, index, quantity)
        found.append(suggestion)
        free &= ~open_.among(chosen)
        left, known = left - float(chosen.C[0]), known + chosen
    return tuple(found)


def _trained(runs: Any) -> tuple[Points, Runs | None]:
    """Everything that was trained, failed or not, and the usable runs of it."""
    if runs is None or (hasattr(runs, "__len__") and not isinstance(runs, str) and len(runs) == 0):
        return points_of(()), None
    table, _ = runs_frame(runs)
    N, D, C = (table[name].to_numpy(dtype=float) for name in ("num_params", "num_tokens", "flops"))
    known = (N > 0) & (D > 0) & (C > 0)
    try:
        usable = read_runs(runs)
    except FitError:  # all of them failed: there is nothing to learn from, and nothing to train again
        usable = None
    return Points(N=N[known], D=D[known], C=C[known]), usable


def _law(usable: Runs | None) -> FittedLaw | None:
    if usable is None or len(usable) < FEWEST_FOR_LAW:
        return None
    return fit_scaling_law(usable.to_frame())


def _with_widths(
    candidate: Candidate, reason: str, view: Outlook | None, index: int, quantity: str
) -> tuple[Suggestion, Outlook | None]:
    if view is None:
        return Suggestion(candidate=candidate, reason=reason, width_before=None, width_after=None), None
    after = view.after(index)
    before, then = (combined(each.widths(), quantity) for each in (view, after))
    return Suggestion(candidate=candidate, reason=reason, width_before=before, width_after=then), after


def _reason(chosen: Points, known: Points, distance: float, centre: str) -> str:
    """In words, where the chosen lies."""
    compute = float(chosen.C[0])
    factor = np.exp(abs(distance))
    place = f"near {centre}" if factor < 1.5 else f"{factor:.1f}x {'above' if distance > 0 else 'below'} {centre}"
    largest = "" if len(known) and compute <= known.C.max() * 1.05 else ", the largest compute so far"
    return f"{place} at {format_flops(compute)} FLOPs{largest}"
