"""next_experiments: from the runs so far to those that should be trained next."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from flops_fit.basics.arguments import need, number
from flops_fit.errors import FitError
from flops_fit.scaling_law.fit import fit_scaling_law
from flops_fit.scaling_law.fitted import FittedLaw
from flops_fit.scaling_law.next_experiments.candidate import Candidate, Points, Suggestion, points_of
from flops_fit.scaling_law.next_experiments.choose import choose
from flops_fit.scaling_law.next_experiments.width import check_question
from flops_fit.scaling_law.table.columns import runs_table
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
    more_follow: bool = False,
) -> tuple[Suggestion, ...]:
    """Up to `n` candidates to train next for the answer at `target` FLOPs, in order.

    They are the next rungs of a ladder (`ladder`) about the optimum, which climbs as far as the FLOPs reach.

    Args:
        runs: what was trained, as `fit_scaling_law` takes it; may be empty. Failed runs are not suggested again.
        candidates: what may be trained.
        target: the compute that the answer is for, FLOPs.
        quantity: "N_opt", "L_opt" (also "loss") or "both": whose width is said.
        law: fitted to the runs, where it is at hand; else fitted here where there are at least 6.
        planned: chosen before and not trained yet: not chosen again, and taken as known.
        flops_left: what all that is still to be trained may cost, after `planned`: it decides how far up the ladder
            reaches. Without it, it reaches half a decade further than so far.
        tokens_per_param: where the optimum is looked for before the runs say.
        more_follow: whether these are a round of several. Where the runs show no bend each is then the one that
            narrows the answer most per FLOP; otherwise all are rungs of one ladder.

    Fewer than `n`, or none, where the candidates or the FLOPs are used up. Raises `FitError` for values outside their
    limits.
    """
    check_question(n, target, quantity)
    need("tokens_per_param", tokens_per_param, number(above=0), FitError)
    if flops_left is not None:
        need("flops_left", flops_left, number(least=0), FitError)
    trained, usable = _trained(runs)
    if law is None and usable is not None and len(usable) >= FEWEST_FOR_LAW:
        law = fit_scaling_law(usable.to_frame())
    return choose(
        trained,
        usable,
        tuple(candidates),
        n,
        target=target,
        quantity=quantity,
        law=law,
        planned=planned,
        flops_left=flops_left,
        tokens_per_param=tokens_per_param,
        more_follow=more_follow,
    )


def _trained(runs: Any) -> tuple[Points, Runs | None]:
    """Everything that was trained, failed or not, and the usable runs of it."""
    if runs is None or (hasattr(runs, "__len__") and not isinstance(runs, str) and len(runs) == 0):
        return points_of(()), None
    table = runs_table(runs).frame
    N, D, C = (table[name].to_numpy(dtype=float) for name in ("num_params", "num_tokens", "flops"))
    known = (N > 0) & (D > 0) & (C > 0)
    try:
        usable = read_runs(runs)
    except FitError:  # all of them failed: there is nothing to learn from, and nothing to train again
        usable = None
    return Points(N=N[known], D=D[known], C=C[known]), usable
