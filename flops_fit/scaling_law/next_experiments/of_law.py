"""law.next_experiments: what to train next after the runs that a law was fitted to."""

from __future__ import annotations

from collections.abc import Iterable

from flops_fit.basics.arguments import need, number
from flops_fit.errors import FitError
from flops_fit.scaling_law.fitted import FittedLaw
from flops_fit.scaling_law.next_experiments.candidate import Candidate, Points, Suggestion
from flops_fit.scaling_law.next_experiments.choose import choose
from flops_fit.scaling_law.next_experiments.grid import grid_of
from flops_fit.scaling_law.next_experiments.width import check_question


def next_experiments(
    law: FittedLaw,
    n: int = 5,
    *,
    target: float,
    total_flops: float | None = None,
    candidates: Iterable[Candidate] | None = None,
    quantity: str = "both",
) -> tuple[Suggestion, ...]:
    """Up to `n` experiments to train next for the answer at `target` FLOPs, in order, each with what it should bring.

    `total_flops` is what may still be spent on experiments, these and later ones: it decides how far up they reach. By
    default 10 times the largest run. `candidates` are what can be trained; by default sizes from N_opt/4 to 4·N_opt at
    budgets half a decade apart, up to half of `total_flops` or the target. Fewer than `n` where the FLOPs do not reach
    further than the runs. Raises `FitError` for values outside their limits.
    """
    check_question(n, target, quantity)
    if total_flops is not None:
        need("total_flops", total_flops, number(above=0), FitError)
    runs = law.runs
    left = float(total_flops) if total_flops is not None else 10 * float(runs.flops.max())
    open_ = grid_of(law, left, target) if candidates is None else tuple(candidates)
    trained = Points(N=runs.num_params, D=runs.num_tokens, C=runs.flops)
    return choose(trained, runs, open_, n, target=target, quantity=quantity, law=law, flops_left=left)
