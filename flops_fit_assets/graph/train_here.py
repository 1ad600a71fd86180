"""One training of a partition, on as many devices of the machine that runs it as it takes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from flops_fit.cost.devices import Devices
from flops_fit.cost.estimate import CostEstimate
from flops_fit.results.results import ExperimentResult
from flops_fit.training.log_events import OnLog
from flops_fit_assets.instance.gpus import gpu_of_its_own
from flops_fit_assets.source import StudySource

if TYPE_CHECKING:
    from flops_fit.sweep.experiment import Experiment


def train_here(
    source: StudySource, cost: CostEstimate, experiment: Experiment, *, on_log: OnLog, siblings: Sequence[Experiment]
) -> ExperimentResult:
    """The result of `experiment`, whose plan costs `cost`."""
    from flops_fit.training.on_devices import train_on_devices

    study, locks = source.study, source.home / "dagster"
    devices = cost.devices.get(experiment.experiment_id, Devices()).count
    elsewhere = study.slurm is not None
    several = study.hardware.devices_per_training != 1  # may be: then who takes one chooses as they do
    device = "cpu" if several or elsewhere else study.hardware.device
    with gpu_of_its_own(locks, device, study.hardware.processes_per_gpu):
        return train_on_devices(
            study,
            experiment,
            devices,
            output_dir=source.store.runs,
            locks=locks,
            on_log=on_log,
            siblings=siblings,
        )
