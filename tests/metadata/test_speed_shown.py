"""What a training took is shown beside what the same devices were expected to take."""

import pytest

from flops_fit.cost.hardware import Hardware
from flops_fit.results.results import ExperimentResult
from flops_fit.sweep.experiment import Experiment
from flops_fit_assets.metadata.training_run import run_metadata
from flops_fit_assets.storage.store import StudyStore

EXPERIMENT = Experiment(
    experiment_id="one", compute_budget=6e9, size_param="width", size_param_value=8, num_params=1000,
    num_tokens=1_000_000, flops_per_token=6000.0,
)  # fmt: skip


@pytest.mark.parametrize("devices", [1, 4])
def test_seconds_over_predicted_are_those_two(tmp_path, devices):
    result = ExperimentResult.of(
        EXPERIMENT, num_tokens=1_000_000, flops=6e9, status="completed", loss=2.0, seconds=30.0, devices=devices
    )
    hardware = Hardware(peak_flops=1e9, price_per_hour=2.0)
    value = run_metadata(EXPERIMENT, result, 80.0, hardware, StudyStore(directory=tmp_path))

    assert value["seconds"] == 30.0
    assert value["seconds predicted"] == 80.0 / devices
    assert value["seconds over predicted (ratio)"] == pytest.approx(30.0 / (80.0 / devices), rel=1e-3)
    assert value["utilisation (share of peak)"] == pytest.approx(6e9 / (30.0 * devices) / 1e9, rel=1e-3)
    assert value["cost"] == pytest.approx(30.0 * devices / 3600 * 2.0, rel=1e-3)
