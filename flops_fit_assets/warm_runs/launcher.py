"""Dagster's run launcher for this machine, with processes that start at once."""

from __future__ import annotations

import sys
import threading
from collections.abc import Mapping
from typing import Any, Self

from dagster import DagsterRun, DagsterRunStatus, DefaultRunLauncher, Field, Float
from dagster._core.launcher import CheckRunHealthResult, LaunchRunContext, WorkerStatus
from dagster._core.remote_representation.code_location import GrpcServerCodeLocation
from dagster._grpc.types import ExecuteRunArgs
from dagster._serdes import ConfigurableClassData, serialize_value
from dagster._utils import get_run_crash_explanation

from flops_fit.processes import forks
from flops_fit_assets.instance.sqlite import lighten
from flops_fit_assets.warm_runs.forked_from import CannotFork, ForkedLocation, base, leave_base
from flops_fit_assets.warm_runs.process_of_run import PROCESS_TAG, ProcessOfRun

_IDLE_SECONDS = 600.0
_LOADING_SECONDS = 120.0
_TRIES = 3  # a source may be written while it is loaded


class WarmRunLauncher(DefaultRunLauncher):
    """Launches runs as forks of a process that has loaded Dagster, torch and the run's code location.

    A run is a process of its own as with `DefaultRunLauncher`, which it hands a run to that cannot be a fork: where
    there is a GPU or no Linux, of a code location elsewhere or with another Python, or that begins threads when
    imported. `idle_seconds` after its last run the process with the code location ends.
    """

    def __init__(self, idle_seconds: float = _IDLE_SECONDS, inst_data: ConfigurableClassData | None = None) -> None:
        super().__init__(inst_data)
        lighten()
        self._idle_seconds = idle_seconds
        self._locations: dict[tuple[str, str], ForkedLocation] = {}  # by the code location and its loading
        self._refused: set[tuple[str, str]] = set()
        self._lock = threading.Lock()

    @classmethod
    def config_type(cls) -> dict[str, Any]:
        """What `config` in `dagster.yaml` may hold."""
        return {"idle_seconds": Field(Float, is_required=False, default_value=_IDLE_SECONDS)}

    @classmethod
    def from_config_value(cls, inst_data: ConfigurableClassData, config_value: Mapping[str, Any]) -> Self:
        """As Dagster makes it."""
        return cls(inst_data=inst_data, **config_value)

    def launch_run(self, context: LaunchRunContext) -> None:
        """Have a fork begin the run, or the code server where it cannot be one."""
        if not forks.POSSIBLE or not self._forked(context):
            run = context.dagster_run
            if PROCESS_TAG in run.tags:  # that of the run which this one repeats: it would be looked for in vain
                self._instance.add_run_tags(run.run_id, {PROCESS_TAG: ""})
            super().launch_run(context)

    def _forked(self, context: LaunchRunContext) -> bool:
        run, key = context.dagster_run, _location_of(context)
        if key is None or key in self._refused:
            return False
        origin = run.job_code_origin
        assert origin is not None
        called = ExecuteRunArgs(job_origin=origin, run_id=run.run_id, instance_ref=self._instance.get_ref())
        try:
            for _ in range(_TRIES):
                answer = self._location(key).run(run.run_id, serialize_value(called), _LOADING_SECONDS)
                if answer == "began":
                    self._run_ids.add(run.run_id)
                    return True
                self._forget(key)
                if answer == "all stale":
                    leave_base()
        except CannotFork as error:
            self._refused.add(key)
            self._instance.report_engine_event(
                f"Runs of this code location, until it is loaded again, are no forks of one that is loaded: {error}",
                run,
            )
        return False

    def _location(self, key: tuple[str, str]) -> ForkedLocation:
        with self._lock:
            found = self._locations.get(key)
            if found is None or found.gone:
                for old in [other for other in self._locations if other[0] == key[0]]:  # of an earlier loading
                    self._locations.pop(old).leave()
                found = self._locations[key] = base().location(key[0], self._idle_seconds, self._ended)
            return found

    def _forget(self, key: tuple[str, str]) -> None:
        with self._lock:
            if (found := self._locations.pop(key, None)) is not None:
                found.leave()

    def _ended(self, run_id: str, code: int) -> None:
        """Say of a run whose process ended before the run did how that was, as Dagster's code server does."""
        run = self._instance.get_run_by_id(run_id) if self.has_instance else None
        if run is None or run.is_finished:
            return
        if run.status is DagsterRunStatus.CANCELING:
            self._instance.report_run_canceled(run)
            return
        said = get_run_crash_explanation(prefix=f"Run execution process for {run_id}", exit_code=code)
        self._instance.report_engine_event(said, run, cls=type(self))
        self._instance.report_run_failed(run)

    def terminate(self, run_id: str) -> bool:
        """Ask a run's process to end; whether it was there."""
        run = self._instance.get_run_by_id(run_id) if self.has_instance else None
        process = ProcessOfRun.of(run) if run else None
        if run is None or run.is_finished or process is None:
            return super().terminate(run_id)
        self._instance.report_run_canceling(run)
        return process.interrupt()

    @property
    def supports_check_run_worker_health(self) -> bool:
        """Of forks; the code server looks after the others itself."""
        return True

    def check_run_worker_health(self, run: DagsterRun) -> CheckRunHealthResult:
        """Whether the run's process is there."""
        process = ProcessOfRun.of(run)
        if process is None or process.lives:
            return CheckRunHealthResult(WorkerStatus.RUNNING)
        return CheckRunHealthResult(WorkerStatus.FAILED, f"its process {process.number} is gone")

    def dispose(self) -> None:
        """Launch nothing more; runs under way go on to their end."""
        with self._lock:
            for location in self._locations.values():
                location.leave()
            self._locations.clear()
        super().dispose()


def _location_of(context: LaunchRunContext) -> tuple[str, str] | None:
    """The code location of a run and which loading of it; None where it is not one of this machine and this Python."""
    run = context.dagster_run
    origin = run.job_code_origin.repository_origin if run.job_code_origin else None
    if origin is None or run.remote_job_origin is None or context.workspace is None:
        return None
    if origin.container_image or origin.executable_path != sys.executable:
        return None
    name = run.remote_job_origin.repository_origin.code_location_origin.location_name
    location = context.workspace.get_code_location(name)
    if not isinstance(location, GrpcServerCodeLocation) or location.host not in ("localhost", "127.0.0.1", None):
        return None
    return serialize_value(origin), location.server_id
