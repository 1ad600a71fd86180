"""Dagster runs in this process, without its daemon: one asset, or one partition of it, per run."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg

from flops_fit.adaptive.options import wished
from flops_fit.errors import FileError, FlopsFitError
from flops_fit.results.results import FINAL_STATUSES, ExperimentResult, failed_result
from flops_fit.training.stacked.together import Together, train_together
from flops_fit_assets.definitions import definitions_of
from flops_fit_assets.graph.recipe_law import planned_in
from flops_fit_assets.graph.rounds import INTERRUPTED_TAG
from flops_fit_assets.instance.home import open_instance, open_instance_of_pages
from flops_fit_assets.source import StudySource
from flops_fit_assets.storage.remote import storage_url
from flops_fit_assets.warm_runs.process_of_run import ProcessOfRun

if TYPE_CHECKING:
    from flops_fit.preflight.first_steps import Trial
    from flops_fit.sweep.experiment import Experiment

HEADLESS_TAG = "flops_fit/headless"
_PARTITION_TAG = "dagster/partition"
QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
_UNDER_WAY = [dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.NOT_STARTED]


class RunFailed(FlopsFitError):
    """A Dagster run ended without its asset; the message says why."""


@dataclass(frozen=True, kw_only=True)
class AssetRuns:
    """Runs of one study's assets; can be sent to another process, which loads the study itself. `until` is what an
    adaptive one must know instead of what its file says (`wished`)."""

    path: Path
    home: Path
    storage: str | None = None
    until: tuple[str, ...] = ()

    @classmethod
    def of(cls, path: Path, home: Path, storage: str | None = None, until: tuple[str, ...] = ()) -> AssetRuns:
        """The file as it is now; raises `StudyError` where it is not valid, `StorageError` for a URL that is not."""
        for read_before in (_source, _job):
            read_before.cache_clear()
        runs = cls(path=path.resolve(), home=home, storage=storage_url(storage), until=until)
        _ = runs.source
        return runs

    @property
    def source(self) -> StudySource:
        """The study, read once in a process."""
        return _source(self)

    def materialize(self, instance: dg.DagsterInstance, stage: str, partition: str | None = None) -> None:
        """One run in this process; raises `RunFailed` with the reason of the first failed step, `KeyboardInterrupt`
        where a signal ended the run of a whole asset (a training says in its result that it was interrupted)."""
        result = _job(self).execute_in_process(
            run_config=QUIET,
            instance=instance,
            partition_key=partition,
            asset_selection=[self.source.key(stage)],
            raise_on_error=False,
            tags={HEADLESS_TAG: self.source.study.name},
        )
        if not result.success:
            if partition is None and _was_interrupted(result):
                raise KeyboardInterrupt
            raise RunFailed(reason_of(result, stage))


def train_partition(partition: str, emit: Callable[[dict[str, Any]], None], runs: AssetRuns) -> ExperimentResult:
    """Train one experiment as one Dagster run."""
    ended: dict[str, Any] = {}

    def listen(event: dict[str, Any]) -> None:
        ended.update(event if "status" in event else {})
        emit(event)

    _LISTENER.target = listen
    try:
        runs.materialize(_instance(runs.home, runs.source.study.hardware.num_workers()), "training_run", partition)
    except RunFailed as error:
        return _failed_result(runs, partition, ended.get("status", "failed"), ended.get("reason") or str(error))
    return runs.source.store.read("training_run", partition)


def train_partitions(
    experiments: tuple[Experiment, ...], emit: Callable[[dict[str, Any]], None], runs: AssetRuns
) -> Together:
    """The task of one worker process: each experiment as a Dagster run of its own; of several the steps are taken at
    once before, where that can be done and pays."""

    def train(experiment: Experiment, _resume: bool) -> ExperimentResult:
        return train_partition(experiment.experiment_id, emit, runs)

    return train_together(runs.source.study, experiments, train, output_dir=runs.source.store.runs, on_log=emit)


def try_in_worker(experiment: Experiment, emit: Callable[[dict[str, Any]], None], runs: AssetRuns) -> Trial:
    """The first steps of one experiment, as a task of the same worker processes."""
    from flops_fit.preflight import first_steps

    return first_steps.try_in_worker(experiment, emit, runs.source.study)


def end_orphans(
    instance: dg.DagsterInstance, study: str, *, partition: str | None = None, reason: str | None = None
) -> int:
    """Mark runs as failed that a headless process began and, being gone, will never end; how many there were.

    Only for whoever holds the study's lock.
    """
    tags = {HEADLESS_TAG: study} | ({_PARTITION_TAG: partition} if partition else {})
    orphans = instance.get_runs(dg.RunsFilter(statuses=_UNDER_WAY, tags=tags))
    for run in orphans:
        if reason is None:
            instance.add_run_tags(run.run_id, {INTERRUPTED_TAG: "true"})
        instance.report_run_failed(run, reason or "the process that ran this was killed before it ended")
    return len(orphans)


def end_lost_runs(home: Path) -> int:
    """Mark runs as failed that Dagster's processes of `home` began and, having been killed, will never end; how many.

    They would hold the places of others for ever. Only for whoever holds `pages_lock`. Runs on other machines are left
    to their launcher, headless ones to the next headless process, and forks that go on to run monitoring.
    """
    opened = open_instance_of_pages(home)
    if opened is None:
        return 0
    with opened as instance:
        if not isinstance(instance.run_launcher, dg.DefaultRunLauncher):
            return 0
        found = instance.get_runs(dg.RunsFilter(statuses=[*_UNDER_WAY, dg.DagsterRunStatus.CANCELING]))
        lost = [run for run in found if HEADLESS_TAG not in run.tags and not _goes_on(run)]
        for run in lost:
            instance.add_run_tags(run.run_id, {INTERRUPTED_TAG: "true"})
            instance.report_run_failed(run, "the process that ran this was gone when the pages were opened again")
    return len(lost)


def _goes_on(run: dg.DagsterRun) -> bool:
    process = ProcessOfRun.of(run)
    return process is not None and process.lives


class _Listener:
    """Hands the progress of trainings in this process to whoever listens now."""

    target: Callable[[dict[str, Any]], None] | None = None

    def __call__(self, event: dict[str, Any]) -> None:
        if self.target is not None:
            self.target(event)


_LISTENER = _Listener()


@functools.cache
def _source(runs: AssetRuns) -> StudySource:
    source = StudySource.of(runs.path, home=runs.home, storage=runs.storage or "", served=True)
    if not runs.until:
        return source
    study = source.study
    return dataclasses.replace(source, origin=dataclasses.replace(study, adaptive=wished(study.adaptive, runs.until)))


@functools.cache
def _job(runs: AssetRuns) -> dg.JobDefinition:
    definitions = definitions_of(runs.source, on_log=_LISTENER)
    return definitions.resolve_implicit_global_asset_job_def()


@functools.cache
def _instance(home: Path, workers: int) -> dg.DagsterInstance:
    return open_instance(home, workers)


def _failed_result(runs: AssetRuns, partition: str, status: str, reason: str) -> ExperimentResult:
    """What the training left of itself; where it could not (a disk is full), what it said when it ended."""
    store = runs.source.store
    try:
        result = store.read("training_run", partition)
    except (FileError, FileNotFoundError):
        result = None
    if result is not None and not result.is_final:
        return result
    _, experiment = planned_in(runs.source, partition, lambda: store.read("sweep_plan"))
    return failed_result(experiment, reason, status="failed" if status in FINAL_STATUSES else status)


def _was_interrupted(result: dg.ExecuteInProcessResult) -> bool:
    """Whether a step failed because of a signal, which Dagster catches in its stead."""
    failures = [event.step_failure_data for event in result.all_events if event.is_step_failure]
    return any(data.error_source is not None and data.error_source.value == "INTERRUPT" for data in failures)


def reason_of(result: dg.ExecuteInProcessResult, stage: str) -> str:
    """Why the first step of a run failed that did."""
    for event in result.all_events:
        if event.is_step_failure:
            data = event.step_failure_data
            if data.user_failure_data and data.user_failure_data.description:
                return f"{stage}: {data.user_failure_data.description}"
            if data.error is not None:
                cause = data.error.cause or data.error
                return f"{stage}: {cause.message.strip()}\n{''.join(cause.stack[-3:])}"
    return f"{stage}: the run failed before its first step; see it in `flops-fit ui`"
