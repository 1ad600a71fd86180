"""What trains the experiments: devices, their peak and memory, their price, and what may be spent."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from typing import Any

from flops_fit.basics.arguments import LEFT_OUT, TEXT, Rule, check_fields, matching, need, number, one_of, whole
from flops_fit.basics.memory import ram_bytes
from flops_fit.cost.accelerators import find_accelerator
from flops_fit.errors import StudyError

CPU_FLOPS_PER_CORE = 5e10
_BENCHMARK_ROWS = {"cpu": 1024, "cuda": 8192}
_WORTH_MEASURING_SECONDS = 30.0  # of training on one CPU core
FIELD_RULES = {
    "name": TEXT,
    "device": matching(r"auto|cpu|mps|cuda(:\d+)?", "one of auto, cpu, cuda, mps"),
    "trainings_per_device": whole() | one_of("auto"),
    "workers": whole() | Rule(lambda workers: workers is None, "left out for one per core or GPU"),
    "devices_per_training": whole() | one_of("auto"),
    "accelerator": TEXT | LEFT_OUT,
    "peak_precision": one_of("bf16", "tf32", "fp32"),
    **dict.fromkeys(("peak_flops", "memory_bytes", "max_cost", "max_hours"), number(above=0) | LEFT_OUT),
    "utilisation": number(above=0, most=1),
    "price_per_hour": number(least=0),
}


@dataclass(frozen=True, kw_only=True)
class Hardware:
    """What trains the experiments.

    Attributes:
        name: for the reader.
        device: "auto", "cpu", "cuda" or "mps".
        workers: experiments trained side by side; None is one per CPU core, or per GPU.
        trainings_per_device: how many trainings share one. "auto": experiments that differ in seed, rate or weight
            decay alone take their steps together in one process where a trial finds that the same and faster. A number:
            on a CPU so many at most do, however fast; on a GPU so many processes share it, each with its part of the
            memory (docs/training.md#several-at-once).
        devices_per_training: devices that train one experiment together, data parallel, each with a process of its own
            (docs/distributed.md); such a training takes as many of the workers' places. "auto" is 1, and more for those
            that would outlast an even share of all, or whose batch does not fit one device.
        accelerator: a device of `flops_fit.cost.accelerators`, such as "H100-SXM"; gives peak FLOP/s and memory.
        peak_precision: which figure of the accelerator to take: "bf16", "tf32" or "fp32".
        peak_flops: FLOP/s of one worker's device; without it and `accelerator`, 5e10, roughly one CPU core.
        utilisation: the share of the peak that training reaches.
        memory_bytes: of one worker's device, if known.
        price_per_hour: of one worker's device.
        max_cost: where what is left to train would cost more, in the unit of the price, nothing is trained.
        max_hours: the same for hours until the last worker is done.
    """

    name: str = "local"
    device: str = "auto"
    workers: int | None = None
    trainings_per_device: int | str = 1
    devices_per_training: int | str = 1
    accelerator: str | None = None
    peak_precision: str = "bf16"
    peak_flops: float | None = None
    utilisation: float = 0.3
    memory_bytes: float | None = None
    price_per_hour: float = 0.0
    max_cost: float | None = None
    max_hours: float | None = None

    def __post_init__(self) -> None:
        check_fields(self, FIELD_RULES, StudyError, prefix="hardware.")
        if self.max_cost is not None and self.price_per_hour == 0:
            raise StudyError(
                f"hardware.max_cost = {self.max_cost!r} must be given together with price_per_hour, which is 0"
            )
        if self.devices_per_training != 1 and self.trainings_per_device != 1:
            raise StudyError(
                f"hardware.devices_per_training = {self.devices_per_training!r} with trainings_per_device = "
                f"{self.trainings_per_device!r}; a training either shares its device or takes several: leave one out"
            )
        if self.devices_per_training != 1 and (self.device == "mps" or ":" in self.device):
            raise StudyError(
                f"hardware.devices_per_training = {self.devices_per_training!r} with device = {self.device!r}, which "
                'is one; set device = "cuda" or "cpu", or leave devices_per_training out'
            )
        if self.accelerator is not None:
            find_accelerator(self.accelerator, self.peak_precision)

    @classmethod
    def local(cls, **options: Any) -> Hardware:
        """This machine, its peak measured by float32 matrix products on one worker's device in about a second.

        `options` are fields of `Hardware`, such as `utilisation` or `price_per_hour`.
        """
        import torch

        device = "cuda" if torch.cuda.is_available() and options.get("device") != "cpu" else "cpu"
        memory = torch.cuda.get_device_properties(0).total_memory if device == "cuda" else ram_bytes()
        measured = {"device": device, "peak_flops": measure_peak(device), "memory_bytes": memory}
        given: dict[str, Any] = {"name": "this machine"} | measured | options
        return cls(**given)

    def num_workers(self) -> int:
        """Experiments trained side by side on this machine."""
        if self.workers is not None:
            return self.workers
        if self.device != "cpu":
            import torch

            from flops_fit.basics.devices import all_gpus

            if torch.cuda.is_available():  # all of them, also in a worker, which sees one
                return (len(all_gpus(self.device)) or torch.cuda.device_count()) * self.processes_per_gpu
        return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1

    @property
    def processes_per_gpu(self) -> int:
        """Trainings that share a GPU, each in a process of its own."""
        return self.trainings_per_device if isinstance(self.trainings_per_device, int) else 1

    @property
    def peak(self) -> float:
        """FLOP/s of one worker's device at its best; a rough guess where nothing is known."""
        return self.known_peak or CPU_FLOPS_PER_CORE

    @property
    def known_peak(self) -> float | None:
        """`peak` where `peak_flops` or `accelerator` is given, else None."""
        if self.peak_flops is not None or self.accelerator is None:
            return self.peak_flops
        return find_accelerator(self.accelerator, self.peak_precision)[1]

    @property
    def memory(self) -> float | None:
        """Bytes of one worker's device, if known."""
        if self.memory_bytes is None and self.accelerator is not None:
            return find_accelerator(self.accelerator, self.peak_precision)[0].memory_bytes
        return self.memory_bytes

    @property
    def limits(self) -> dict[str, float]:
        """`max_cost` and `max_hours`, those that are given."""
        given = {"max_cost": self.max_cost, "max_hours": self.max_hours}
        return {name: value for name, value in given.items() if value is not None}

    @property
    def spending_terms(self) -> dict[str, Any]:
        """All that decides whether a plan is within `limits`, the experiments and their results aside; {} without."""
        if not self.limits:
            return {}
        deciding = ["workers", "known_peak", "utilisation", "price_per_hour"]
        deciding += ["devices_per_training"] if self.devices_per_training != 1 else []
        return self.limits | {name: getattr(self, name) for name in deciding}

    @property
    def flops_per_second(self) -> float:
        """FLOP/s that one worker is taken to reach before any run has been measured."""
        return self.peak * self.utilisation


def peak_to_show(hardware: Hardware, planned_flops: float, precision: str = "float32") -> float | None:
    """The peak that utilisation is shown against: the one given, else measured, in half a second, as `precision` says.

    None where nothing is given and trainings of `planned_flops` are too short to be worth the measurement.
    """
    if hardware.known_peak is not None or planned_flops / CPU_FLOPS_PER_CORE < _WORTH_MEASURING_SECONDS:
        return hardware.known_peak
    import torch

    from flops_fit.basics.devices import autocast, choose_device

    device = choose_device(hardware.device)
    if device.type not in _BENCHMARK_ROWS:
        return None
    is_half = isinstance(autocast(precision, device), torch.autocast)
    return measure_peak(device.type, "bfloat16" if is_half else "float32")


def measure_peak(device: str = "cpu", precision: str = "float32") -> float:
    """FLOP/s of matrix products on one device ("cpu": one core), the best of a few in about a second."""
    import torch

    need("device", device, one_of(*_BENCHMARK_ROWS))
    need("precision", precision, one_of("float32", "bfloat16"))
    rows = _BENCHMARK_ROWS[device]
    threads = torch.get_num_threads()
    matrix = torch.ones(rows, rows, device=device, dtype=getattr(torch, precision))
    best, started = 0.0, time.perf_counter()
    try:
        torch.set_num_threads(1)
        while time.perf_counter() - started < 0.5:
            begin = time.perf_counter()
            torch.mm(matrix, matrix).sum().item()
            best = max(best, 2 * rows**3 / (time.perf_counter() - begin))
    finally:
        torch.set_num_threads(threads)
    return best
