"""Where a study's data and Dagster's instance live: `FLOPS_FIT_HOME`, or `flops_fit_data` in the working directory."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from flops_fit.files import write_text

if TYPE_CHECKING:
    from dagster import DagsterInstance

HOME_VARIABLE = "FLOPS_FIT_HOME"
STUDY_VARIABLE = "FLOPS_FIT_STUDY"
_HEADLESS_FILE = "headless.yaml"
TRAINING_POOL = "flops_fit_training"
DEMO_STUDY = Path(__file__).parent.parent / "flops_fit" / "examples" / "demo" / "study.toml"

# The same instance for processes of ours, in which capturing output would start four helper processes per training.
_HEADLESS_CONFIG = """\
# Written by flops-fit: dagster.yaml for `flops-fit run`, whose trainings write their own logs.
telemetry:
  enabled: false
compute_logs:
  module: dagster._core.storage.noop_compute_log_manager
  class: NoOpComputeLogManager
"""
_INSTANCE_CONFIG = """\
# Written by flops-fit the first time; yours to edit (https://docs.dagster.io/deployment/oss/dagster-yaml).
telemetry:
  enabled: false
nux:
  enabled: false
concurrency:
  pools:
    granularity: run
    default_limit: {workers}    # trainings at the same time when Dagster launches them
run_monitoring:
  enabled: true
  poll_interval_seconds: 5
run_retries:
  enabled: true
  max_retries: 2                # of a run whose process died; a training then goes on from its checkpoint
  retry_on_asset_or_op_failure: false    # what failed with a reason would fail again
"""


def home_directory() -> Path:
    """The absolute path of the home; nothing is created."""
    return Path(os.environ.get(HOME_VARIABLE) or "flops_fit_data").resolve()


def instance_directory(home: Path, workers: int) -> Path:
    """Dagster's folder in `home`, made with its `dagster.yaml` if it is not there."""
    directory = home / "dagster"
    config = directory / "dagster.yaml"
    if not config.exists():
        write_text(config, _INSTANCE_CONFIG.format(workers=workers))
    return directory


def open_instance(home: Path, workers: int) -> DagsterInstance:
    """The Dagster instance in `home`; the caller disposes of it (it is a context manager)."""
    from dagster import DagsterInstance

    from flops_fit_assets.sqlite import relax_syncing

    directory = instance_directory(home, workers)
    if not (directory / _HEADLESS_FILE).exists():
        write_text(directory / _HEADLESS_FILE, _HEADLESS_CONFIG)
    relax_syncing()
    return DagsterInstance.from_config(str(directory), _HEADLESS_FILE)
