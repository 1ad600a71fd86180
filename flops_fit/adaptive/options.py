"""What an adaptive study is asked, and what it may spend: the section [adaptive]."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

from flops_fit.basics.arguments import LEFT_OUT, check_fields, number, one_of, whole
from flops_fit.errors import StudyError
from flops_fit.sweep.experiment import parse_budget

QUANTITIES = ("N_opt", "loss", "both")
LIMITS = ("total_compute", "max_cost", "max_hours")
LEVELS_PER_DECADE = 4
DECADES = 2.5  # of compute below the largest experiment: further down laws bend, and little is learnt
LARGEST_SHARE = 0.3  # of the total that one experiment may take; how far up the rounds really go follows from the total
FIELD_RULES = {
    "quantity": one_of(*QUANTITIES),
    "N_opt_within": number(above=1),
    "loss_within": number(above=0, below=1),
    "max_cost": number(above=0) | LEFT_OUT,
    "max_hours": number(above=0) | LEFT_OUT,
    "round_size": whole() | LEFT_OUT,
}


@dataclass(frozen=True, kw_only=True)
class AdaptiveOptions:
    """The question, how sure the answer must be, and what it may cost.

    Attributes:
        target_budget: FLOPs of the training that is asked about.
        quantity: what must be known there: "N_opt", "loss" or "both".
        N_opt_within: a factor; known where the 90 % interval of N_opt reaches no further from its middle.
        loss_within: the same for the loss, as a share of it. Both defaults are what a law called trustworthy promises.
        total_compute: FLOPs of all experiments together.
        max_cost, max_hours: the same as money (`price_per_hour` of [hardware]) and as device-hours.
        round_size: experiments planned at once; None is one for each worker, at least three.

    Raises `StudyError` unless at least one of `total_compute`, `max_cost` and `max_hours` is given.
    """

    target_budget: float | str
    quantity: str = "both"
    N_opt_within: float = 1.5
    loss_within: float = 0.02
    total_compute: float | str | None = None
    max_cost: float | None = None
    max_hours: float | None = None
    round_size: int | None = None

    def __post_init__(self) -> None:
        check_fields(self, FIELD_RULES, StudyError, prefix="adaptive.")
        object.__setattr__(self, "target_budget", parse_budget(self.target_budget, "adaptive.target_budget"))
        if self.total_compute is not None:
            object.__setattr__(self, "total_compute", parse_budget(self.total_compute, "adaptive.total_compute"))
        if all(getattr(self, name) is None for name in LIMITS):
            raise StudyError(f"[adaptive] has none of {', '.join(LIMITS)}; give what the study may spend in all")

    @property
    def wanted(self) -> dict[str, float]:
        """Quantity → the widest half of its 90 % interval, in logarithms, that counts as known."""
        widths = {"N_opt": math.log(self.N_opt_within), "loss": math.log1p(self.loss_within)}
        return {name: width for name, width in widths.items() if self.quantity in (name, "both")}

    def budgets(self) -> tuple[float, ...]:
        """The compute budgets that experiments may have, four in a decade, the same for every total.

        Raises `StudyError` without `total_compute`, from which they follow.
        """
        if self.total_compute is None:
            raise StudyError(
                "[adaptive] without total_compute does not say how large an experiment may be; give it, or the "
                "compute_budgets to choose from in [sweep]"
            )
        largest = min(LARGEST_SHARE * float(self.total_compute), float(self.target_budget))
        top = math.floor(LEVELS_PER_DECADE * math.log10(largest) + 1e-9)
        steps = range(top - int(LEVELS_PER_DECADE * DECADES), top + 1)
        return tuple(float(f"{10 ** (step / LEVELS_PER_DECADE):.1e}") for step in steps)

    def to_dict(self) -> dict[str, object]:
        """Plain JSON values."""
        return {item.name: getattr(self, item.name) for item in fields(self)}


def wished(options: AdaptiveOptions | None, until: Sequence[str]) -> AdaptiveOptions:
    """The same question with other wishes: `until` are texts such as "N_opt=1.2" and "loss=0.01", as `N_opt_within` and
    `loss_within`; what none of them names need not be known.

    Raises `StudyError` for other text, a value outside its limits, or a study that has no `options`.
    """
    if options is None:
        raise StudyError(
            f"--until {until[0]} is for a study that trains in rounds; give it a section [adaptive] with target_budget "
            "and total_compute"
        )
    wishes: dict[str, float] = {}
    for text in until:
        name, _, value = text.partition("=")
        try:
            wish = float(value)
        except ValueError:
            wish = math.nan
        if name not in ("N_opt", "loss") or name in wishes or math.isnan(wish):
            raise StudyError(
                f"--until {text!r} must be N_opt=FACTOR, such as N_opt=1.2, or loss=SHARE, such as loss=0.01, each once"
            )
        wishes[name] = wish
    return replace(
        options,
        quantity="both" if len(wishes) > 1 else next(iter(wishes)),
        N_opt_within=wishes.get("N_opt", options.N_opt_within),
        loss_within=wishes.get("loss", options.loss_within),
    )
