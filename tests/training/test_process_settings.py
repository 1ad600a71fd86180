"""What a user's module sets in its process at import holds for every training; what a training changes, for itself."""

import importlib
import os
import sys

import pytest
import torch
from pipeline_study import DAGSTER_WARNINGS, run, write_study
from tiny_study import examples, experiment, tiny_study

from flops_fit import ModelSpec, run_experiment
from flops_fit.processes.process_state import process_state_kept

pytestmark = DAGSTER_WARNINGS


@pytest.fixture(autouse=True)
def _imported_anew(monkeypatch):
    """The module sets something at its import, and this process is as before afterwards."""
    monkeypatch.delitem(sys.modules, "double_model", raising=False)
    examples.cache_clear()  # drawn in the precision that is the default when they are
    with process_state_kept():
        yield
    examples.cache_clear()
    sys.modules.pop("double_model", None)


@pytest.mark.slow
def test_every_training_of_a_worker_has_the_settings_of_the_module(tmp_path):
    outcome = run(write_study(tmp_path, model="Double", module="double_model"), tmp_path)
    assert [result.reason for result in outcome.not_completed] == []
    assert len(outcome.results) == 8


def test_where_a_model_moves_away_its_result_is_where_it_was_wanted(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    study = tiny_study(model=ModelSpec(factory=importlib.import_module("double_model").Double, size_param="width"))
    first = run_experiment(study, experiment(), output_dir="runs")
    assert first.status == "completed", first.reason
    assert (tmp_path / "runs" / first.experiment_id / "result.json").exists()
    assert os.getcwd() == str(tmp_path)
    assert torch.get_default_dtype() is torch.float64, "not what the training made of it"
