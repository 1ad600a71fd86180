"""How much of what an adaptive study may spend is gone, and what an experiment would take of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from flops_fit.adaptive.options import AdaptiveOptions
from flops_fit.basics.formatting import format_flops, format_money
from flops_fit.cost.estimate import CostEstimate
from flops_fit.cost.hardware import Hardware
from flops_fit.errors import StudyError
from flops_fit.results.results import ExperimentResult
from flops_fit.sweep.experiment import PLAN_TOLERANCE, Experiment
from flops_fit.sweep.sweep_plan import SweepPlan


@dataclass(frozen=True, kw_only=True)
class Amount:
    """FLOPs, device-hours and money."""

    flops: float
    hours: float
    money: float

    def __add__(self, other: Amount) -> Amount:
        """Both together."""
        return Amount(flops=self.flops + other.flops, hours=self.hours + other.hours, money=self.money + other.money)

    def share_of(self, options: AdaptiveOptions) -> float:
        """The largest share of a limit of the study that this is."""
        pairs = ((self.flops, options.total_compute), (self.hours, options.max_hours), (self.money, options.max_cost))
        return max(amount / float(limit) for amount, limit in pairs if limit is not None)

    def text(self, options: AdaptiveOptions) -> str:
        """This against each limit, in words."""
        said = []
        if options.total_compute is not None:
            said.append(f"{format_flops(self.flops)} of {format_flops(float(options.total_compute))} FLOPs")
        if options.max_hours is not None:
            said.append(f"{self.hours:.3g} of {options.max_hours:g} device-hours")
        if options.max_cost is not None:
            said.append(f"{format_money(self.money)} of {format_money(options.max_cost)}")
        return ", ".join(said)


def amount_spent(
    experiments: Iterable[Experiment], results: Mapping[str, ExperimentResult], cost: CostEstimate, price: float
) -> Amount:
    """Of those with a result what was measured, of the others what was planned."""
    flops = hours = 0.0
    for item in experiments:
        result = results.get(item.experiment_id)
        flops += item.planned_flops if result is None else result.flops
        hours += (cost.seconds[item.experiment_id] if result is None else result.seconds * result.devices) / 3600
    return Amount(flops=flops, hours=hours, money=hours * price)


def refuse_over_total(
    options: AdaptiveOptions,
    hardware: Hardware,
    plan: SweepPlan,
    results: Mapping[str, ExperimentResult],
    cost: CostEstimate,
) -> None:
    """Raise `StudyError` where `plan`, which costs `cost`, takes more than the study may spend, spent and planned.

    Its total was lowered then, or trainings take longer than was estimated.
    """
    amount = amount_spent(plan.experiments, results, cost, hardware.price_per_hour)
    if amount.share_of(options) > 1 + PLAN_TOLERANCE:
        raise StudyError(
            f"nothing was trained: the rounds until now take {amount.text(options)}, spent and planned; raise the "
            "total in [adaptive]"
        )


def amount_planned(experiment: Experiment, cost: CostEstimate, price: float) -> Amount:
    """What one experiment is expected to take."""
    hours = cost.seconds[experiment.experiment_id] / 3600
    return Amount(flops=experiment.planned_flops, hours=hours, money=hours * price)
