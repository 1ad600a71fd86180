"""Ctrl-C while a stage is made is no failure of that stage: the command says how to go on."""

import os

import pytest
from pipeline_study import DAGSTER_WARNINGS, write_study

from flops_fit_assets.headless.dagster_runs import AssetRuns
from flops_fit_assets.instance.home import open_instance

pytestmark = DAGSTER_WARNINGS


def test_a_signal_while_models_are_built_is_no_failure_of_the_stage(tmp_path, monkeypatch):
    monkeypatch.setenv("FLOPS_FIT_INTERRUPTS", str(os.getpid()))
    runs = AssetRuns.of(write_study(tmp_path, model="InterruptsWhenBuilt", module="slow_model"), tmp_path)
    with open_instance(tmp_path, 1) as instance, pytest.raises(KeyboardInterrupt):
        runs.materialize(instance, "size_map")
