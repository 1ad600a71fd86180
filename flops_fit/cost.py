"""FLOPs → device-hours → money."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING, Any

from flops_fit.errors import StudyError

if TYPE_CHECKING:
    from flops_fit.sweep import SweepPlan

CPU_FLOPS_PER_CORE = 5e10


@dataclass(frozen=True, kw_only=True)
class Hardware:
    """What trains the experiments.

    Attributes:
        name: for the reader.
        device: "auto", "cpu", "cuda" or "mps".
        workers: experiments trained side by side; None is one per CPU core, or per GPU.
        peak_flops: FLOP/s of one worker's device; None is 5e10, roughly one CPU core.
        utilisation: the share of it that training reaches.
        price_per_hour: of one worker's device.
    """

    name: str = "local"
    device: str = "auto"
    workers: int | None = None
    peak_flops: float | None = None
    utilisation: float = 0.3
    price_per_hour: float = 0.0

    def __post_init__(self) -> None:
        _need(self.workers is None or (type(self.workers) is int and self.workers > 0), "workers", self.workers,
              "a positive whole number, or left out for one per core or GPU")  # fmt: skip
        _need(self.peak_flops is None or _is_positive(self.peak_flops), "peak_flops", self.peak_flops, "above 0")
        _need(_is_positive(self.utilisation) and self.utilisation <= 1, "utilisation", self.utilisation,
              "above 0 and at most 1")  # fmt: skip
        price = self.price_per_hour
        _need(price == 0 or _is_positive(price), "price_per_hour", price, "0 or more")

    def num_workers(self) -> int:
        """Experiments trained side by side on this machine."""
        if self.workers is not None:
            return self.workers
        if self.device != "cpu":
            import torch

            if torch.cuda.is_available():
                return torch.cuda.device_count()
        return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1

    @property
    def flops_per_second(self) -> float:
        """FLOP/s that one worker is taken to reach before any run has been measured."""
        return (self.peak_flops or CPU_FLOPS_PER_CORE) * self.utilisation


@dataclass(frozen=True, kw_only=True)
class CostEstimate:
    """What a plan costs.

    Attributes:
        seconds: experiment id → seconds on one worker.
        workers: experiments trained side by side.
        device_hours: of all experiments together.
        money: device-hours times the price of one.
        basis: what the seconds rest on.
    """

    seconds: dict[str, float]
    workers: int
    device_hours: float
    money: float
    basis: str

    @property
    def wall_seconds(self) -> float:
        """Seconds until the last of `workers` is done, if they never wait."""
        longest = max(self.seconds.values(), default=0.0)
        return max(longest, self.device_hours * 3600 / self.workers)


def estimate(plan: SweepPlan, hardware: Hardware | None = None, results: Iterable[Any] | None = None) -> CostEstimate:
    """Seconds, device-hours and money of `plan`: from the throughput of finished `results` if there are any.

    `results` are `ExperimentResult`s; those of status "completed" count.
    """
    hardware = hardware or Hardware()
    finished = [result for result in results or () if result.status == "completed" and result.seconds > 0]
    if finished:
        rate = median(result.flops / result.seconds for result in finished)
        basis = f"measured on {len(finished)} finished runs: {rate:.2g} FLOP/s"
    else:
        rate = hardware.flops_per_second
        basis = f"assumed {hardware.utilisation:.0%} of {hardware.peak_flops or CPU_FLOPS_PER_CORE:.2g} FLOP/s"
    seconds = {experiment.experiment_id: experiment.planned_flops / rate for experiment in plan.experiments}
    hours = sum(seconds.values()) / 3600
    return CostEstimate(
        seconds=seconds,
        workers=hardware.num_workers(),
        device_hours=hours,
        money=hours * hardware.price_per_hour,
        basis=basis,
    )


def _is_positive(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < float("inf")


def _need(good: bool, name: str, value: Any, limit: str) -> None:
    if not good:
        raise StudyError(f"hardware.{name} = {value!r} must be {limit}")
