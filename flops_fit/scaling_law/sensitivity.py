"""How much the answers move with E: the law refitted with its irreducible loss held at either end of its interval."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from flops_fit.basics.formatting import format_flops
from flops_fit.errors import FitError
from flops_fit.scaling_law.fitted import FittedLaw
from flops_fit.scaling_law.fitting.held import checked, limits
from flops_fit.scaling_law.fitting.newton import minimise
from flops_fit.scaling_law.fitting.objective import MIN_LOG_E, to_parameters
from flops_fit.scaling_law.fitting.uncertainty import percentile_interval
from flops_fit.scaling_law.intervals import optimum_of
from flops_fit.scaling_law.mixture import as_members, mixed_loss, mixed_optimum
from flops_fit.scaling_law.quantities import one_compute

LEVEL = 0.9
BELOW = 1e-4  # of the lowest loss, that E stays below it
SIZE_MATTERS, LOSS_MATTERS = 1.25, 0.01  # a factor of N_opt, and a share of the loss, from which on it is said


@dataclass(frozen=True, kw_only=True)
class WithE:
    """The compute-optimal model where the irreducible loss is E nats: parameters, tokens, and loss in nats."""

    E: float
    N_opt: float
    D_opt: float
    L_opt: float


def sensitivity_to_E(law: FittedLaw, compute: float) -> tuple[WithE, WithE]:
    """The answers at `compute` FLOPs with E held at either end of its 90 % interval, the rest refitted: low, high.

    Of a law that bends it is the irreducible loss of the mixture: each member's E is moved by the same factor. Raises
    `FitError` for one that was saved before this was kept, and for one that shares parameters with other tables.
    """
    return _answers(law, one_compute(compute), _ends(law))


def sensitivity_in_words(law: FittedLaw) -> str:
    """What E does to the answers at 10 or 100 times the largest budget; empty where it is little."""
    unknown = "shared" in law.options or (law.form == "bent" and law.prediction.members_with_E is None)
    if not law.determined or unknown:
        return ""
    ends, said = _ends(law), ""
    for compute in law.default_budgets()[-2:]:
        low, high = _answers(law, compute, ends)
        sizes = [each.N_opt / law.N_opt(compute) for each in (low, high)]
        losses = [each.L_opt / law.L_opt(compute) - 1 for each in (low, high)]
        if max(*sizes, *(1 / size for size in sizes)) > SIZE_MATTERS or max(map(abs, losses)) > LOSS_MATTERS:
            whose = "" if law.form == "chinchilla" else "of what answers, "
            said = (
                f"{whose}held at {low.E:.4g} or {high.E:.4g}, the ends of its interval, gives N_opt x{sizes[0]:.2f} or "
                f"x{sizes[1]:.2f} and loss {losses[0]:+.1%} or {losses[1]:+.1%} at {format_flops(compute)} FLOPs"
            )
    return said


def _answers(law: FittedLaw, compute: float, ends: np.ndarray) -> tuple[WithE, WithE]:
    low, high = (_answer(law, compute, members) for members in ends)
    return low, high


def _answer(law: FittedLaw, compute: float, members: np.ndarray) -> WithE:
    N = float(mixed_optimum(members, compute, law.flops_per_token))
    D = compute / float(law.flops_per_token(N))
    E = float(np.exp(np.log(members[:, 0]).mean()))
    return WithE(E=E, N_opt=N, D_opt=D, L_opt=float(mixed_loss(members, N, D)))


def _ends(law: FittedLaw) -> np.ndarray:
    """The members with E at either end, (2, members, 6)."""
    if law.form == "bent":
        if law.prediction.members_with_E is None:
            raise FitError("this law was saved before its sensitivity to E was kept; fit it again")
        return law.prediction.members_with_E
    if "shared" in law.options:
        raise FitError(
            "the runs of this law are not all it was fitted to, and no refit knows the others; compare its draws"
        )
    fit, found = optimum_of(law), []
    least, most = limits(checked(law.options.get("fix"), np.inf))
    for E in percentile_interval(law.draws[:, 0], LEVEL):
        log_e = np.log(np.clip(E, np.exp(MIN_LOG_E), law.runs.loss.min() * (1 - BELOW)))
        lower, upper, start = (np.append(log_e, each[1:]) for each in (least, most, fit.theta))
        data = replace(fit.data, lower=lower, upper=upper)
        ended = minimise(start[None], data, fit.weights, fit.delta, tolerance=1e-9, warm=True)
        found.append(as_members(to_parameters(ended.theta, data)[0]))
    return law.prediction.moved(np.array(found))
