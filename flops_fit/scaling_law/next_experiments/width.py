"""How wide the answer at a target is: the number that decides which experiment narrows it, and when to stop."""

from __future__ import annotations

import math

from flops_fit.basics.arguments import need, number, one_of, whole
from flops_fit.basics.half_width import half_width
from flops_fit.errors import FitError
from flops_fit.scaling_law.checks.verdict import LIMITS
from flops_fit.scaling_law.fitted import FittedLaw

QUANTITIES = {"N_opt": ("N_opt",), "L_opt": ("L_opt",), "loss": ("L_opt",), "both": ("N_opt", "L_opt")}
# what a width of ln L_opt is worth in ln N_opt, where both are asked for: a trustworthy answer has N_opt within a
# factor 1.5 and the loss within 2 %, so 1 % of the loss weighs as 20 % of N_opt
EXCHANGE = math.log1p(LIMITS["N_opt"]) / math.log1p(LIMITS["loss"])


def check_question(n: int, target: float, quantity: str) -> None:
    """Raise `FitError` where so many experiments, that target or that quantity cannot be asked for."""
    need("n", n, whole(), FitError)
    need("target", target, number(above=0), FitError)
    need("quantity", quantity, one_of(*QUANTITIES), FitError)


def target_width(law: FittedLaw, target: float, quantity: str = "both", *, level: float = 0.9) -> float:
    """Half the width of the interval of `quantity` at `target` FLOPs, in logarithms: 0.1 is about 10 % either way.

    "N_opt"; "L_opt" (also "loss"); or "both", the larger of N_opt's and, so that the two can be compared, 20.5 times
    the loss's (`EXCHANGE`). A width of both at or below ln 1.5 = 0.41 is what a trustworthy answer needs. Infinite
    where the runs do not determine the law, or an end of the interval is 0 or infinite.
    """
    return combined(widths(law, target, level=level), quantity)


def widths(law: FittedLaw, target: float, *, level: float = 0.9) -> dict[str, float]:
    """Half widths of N_opt and L_opt, each in its own logarithm."""
    if not law.determined:
        return dict.fromkeys(LOGS, math.inf)
    return {name: half_width(*law.interval(name, target, level=level)) for name in LOGS}


LOGS = ("N_opt", "L_opt")


def combined(each: dict[str, float], quantity: str) -> float:
    """The width of `quantity` from those of N_opt and L_opt."""
    need("quantity", quantity, one_of(*QUANTITIES), FitError)
    names = QUANTITIES[quantity]
    if len(names) == 1:
        return each[names[0]]
    return max(each["N_opt"], EXCHANGE * each["L_opt"])
