"""Dagster's instance in a home: its folder, its configuration, and how it is opened."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flops_fit.basics.files import write_text
from flops_fit_assets.instance.trouble import InstanceError, readable

if TYPE_CHECKING:
    from dagster import DagsterInstance

STUDY_VARIABLE = "FLOPS_FIT_STUDY"
TRAINING_POOL = "flops_fit_training"
DEMO_STUDY = Path(__file__).parents[2] / "flops_fit" / "examples" / "demo" / "study.toml"

# The same instance for runs in processes of this project: without what concerns runs that Dagster launches, and
# without the capture of output, which would start four helper processes per training; trainings write their own logs.
_HEADLESS: dict[str, Any] = {
    "compute_logs": {"module": "dagster._core.storage.noop_compute_log_manager", "class": "NoOpComputeLogManager"},
    "concurrency": {},
    "run_monitoring": {},
    "run_retries": {},
    "telemetry": {"enabled": False},
}
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
run_launcher:                   # runs are forks of a process that has loaded the study; with `module: dagster` and
  module: flops_fit_assets.warm_runs.launcher    # `class: DefaultRunLauncher` each loads it all anew: seconds
  class: WarmRunLauncher
run_coordinator:
  module: dagster
  class: QueuedRunCoordinator
  config:
    dequeue_interval_seconds: 1    # not 5: a training that ends leaves its place to the next at once
run_monitoring:
  enabled: true
  poll_interval_seconds: 5
run_retries:
  enabled: true
  max_retries: 2                # of a run whose process died; a training then goes on from its checkpoint
  retry_on_asset_or_op_failure: false    # what failed with a reason would fail again
"""


_LAUNCHER = re.compile(r"^run_launcher:.*\n(?: .*\n)+", re.MULTILINE)


def instance_directory(home: Path, workers: int) -> Path:
    """Dagster's folder in `home`, made with its `dagster.yaml` if it is not there.

    One that an earlier version wrote, and nobody edited, is written again, with the workers it has.
    """
    directory = home / "dagster"
    config = directory / "dagster.yaml"
    if not config.exists():
        write_text(config, _INSTANCE_CONFIG.format(workers=workers))
    elif (earlier := _workers_of_earlier(config)) is not None:
        write_text(config, _INSTANCE_CONFIG.format(workers=earlier))
    return directory


def _workers_of_earlier(config: Path) -> int | None:
    """The workers in what was written before there was a launcher of our own; None for anything else."""
    before = re.escape(_LAUNCHER.sub("", _INSTANCE_CONFIG)).replace(re.escape("{workers}"), r"(\d+)")
    found = re.fullmatch(before, config.read_text("utf-8", "replace")) if config.is_file() else None
    return int(found[1]) if found else None


def open_instance(home: Path, workers: int) -> DagsterInstance:
    """The Dagster instance in `home` with the storage of its `dagster.yaml`, for runs in processes of this project.

    The caller disposes of it (it is a context manager). Raises `InstanceError` where it cannot be opened.
    """
    from flops_fit_assets.instance.sqlite import lighten

    directory = instance_directory(home, workers)
    lighten()
    return _opened(directory, _HEADLESS)


def open_instance_of_pages(home: Path) -> DagsterInstance | None:
    """The instance in `home` as Dagster's own processes have it, None where there is none; as `open_instance`."""
    directory = home / "dagster"
    return _opened(directory, {}) if (directory / "dagster.yaml").exists() else None


def _opened(directory: Path, overrides: dict[str, Any]) -> DagsterInstance:
    from dagster import DagsterInstance
    from dagster._core.instance.ref import InstanceRef  # the one way to replace a section without a second file

    try:
        return DagsterInstance.from_ref(InstanceRef.from_dir(str(directory), overrides=overrides))
    except Exception as error:  # of YAML, of Dagster's own schema, of a module that it names, of SQLite, of the disk
        said = [line.strip() for line in str(error).splitlines() if line.strip()]
        reason = next((line for line in said if line.startswith("Error 1")), said[0] if said else type(error).__name__)
        written = directory / "dagster.yaml"
        raise InstanceError(
            readable(error) or f"{written} is not valid ({reason}); correct it, or delete it to have it written again"
        ) from error
