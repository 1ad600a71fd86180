"""What of a plan has been spent, what is left to spend, and whether that is more than the study allows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from flops_fit.basics.formatting import format_money
from flops_fit.cost.estimate import CostEstimate
from flops_fit.cost.hardware import Hardware
from flops_fit.errors import StudyError

if TYPE_CHECKING:
    from flops_fit.results.results import ExperimentResult
    from flops_fit.sweep.sweep_plan import SweepPlan


@dataclass(frozen=True, kw_only=True)
class Spending:
    """FLOPs, device time and money of a plan, done and left, its checks included; what experiments share counts once.

    Attributes:
        done_flops, done_hours: of finished experiments, as measured; device-hours.
        left_experiments, left_flops, left_hours: of the others, as planned and estimated; device-hours.
        left_wall_hours: until the last worker is done with them, if none ever waits.
        price_per_hour: of one device.
        workers: experiments trained side by side.
        basis: what the hours left rest on.
    """

    planned_flops: float
    done_flops: float
    done_hours: float
    left_experiments: int
    left_flops: float
    left_hours: float
    left_wall_hours: float
    price_per_hour: float
    workers: int
    basis: str

    @property
    def done_money(self) -> float:
        """What the finished experiments cost."""
        return self.done_hours * self.price_per_hour

    @property
    def left_money(self) -> float:
        """What the others will cost."""
        return self.left_hours * self.price_per_hour


def spending(
    plan: SweepPlan, cost: CostEstimate, results: Mapping[str, ExperimentResult], hardware: Hardware
) -> Spending:
    """The `Spending` of `plan`, whose experiments cost `cost`; of `results`, by experiment id, the final ones count."""
    wanted = {item.experiment_id for item in plan.trainings}
    done = {name: result for name, result in results.items() if result.is_final and name in wanted}
    left = [item for item in plan.trainings if item.experiment_id not in done]
    seconds = [cost.seconds[item.experiment_id] for item in left]
    longest = max((cost.wall_seconds_of(item.experiment_id) for item in left), default=0.0)
    return Spending(
        planned_flops=float(sum(map(cost.own_flops, plan.trainings))),
        done_flops=float(sum(result.own_flops for result in done.values())),
        done_hours=sum(result.device_seconds for result in done.values()) / 3600,
        left_experiments=len(left),
        left_flops=float(sum(map(cost.own_flops, left))),
        left_hours=sum(seconds) / 3600,
        left_wall_hours=max(longest, sum(seconds) / cost.workers) / 3600,
        price_per_hour=hardware.price_per_hour,
        workers=cost.workers,
        basis=cost.basis,
    )


def over_limit(spent: Spending, hardware: Hardware) -> str | None:
    """What is left against `max_cost` and `max_hours`, with the remedy, where it is more; None where it is not."""
    what = f"the {spent.left_experiments} experiments still to train would"
    found = []
    if hardware.max_cost is not None and spent.left_money > hardware.max_cost:
        found.append(
            f"{what} cost {format_money(spent.left_money)}, more than max_cost = {format_money(hardware.max_cost)}; "
            "raise max_cost in [hardware] or plan smaller or fewer compute_budgets"
        )
    if hardware.max_hours is not None and spent.left_wall_hours > hardware.max_hours:
        found.append(
            f"{what} take {spent.left_wall_hours:.3g} hours on {spent.workers} workers, more than max_hours = "
            f"{hardware.max_hours:g}; raise max_hours in [hardware], add workers or plan smaller or fewer "
            "compute_budgets"
        )
    return f"{' '.join(found)} ({spent.basis})" if found else None


def refuse_over_limit(
    hardware: Hardware, plan: SweepPlan, results: Mapping[str, ExperimentResult], cost: CostEstimate
) -> None:
    """Raise `StudyError` where what is left of `plan`, which costs `cost`, is more than `hardware` allows."""
    refusal = over_limit(spending(plan, cost, results, hardware), hardware)
    if refusal:
        raise StudyError(f"nothing was trained: {refusal}")
