"""What stands around a training: only one process trains an experiment, and a result changed by hand is not used."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager

import dagster as dg

from flops_fit.errors import FileError
from flops_fit.files import set_aside
from flops_fit.sweep import Experiment
from flops_fit_assets.history import latest_versions
from flops_fit_assets.io import StudyStore
from flops_fit_assets.source import StudySource
from flops_fit_assets.versions import version_of


@contextmanager
def training_guard(context: dg.AssetExecutionContext, source: StudySource, experiment: Experiment) -> Iterator[None]:
    """Wait until no other process trains `experiment`; set aside a result that is not what was materialized."""
    store = StudyStore(directory=source.directory)
    path = store.path("training_run", experiment.experiment_id)
    path.parent.mkdir(parents=True, exist_ok=True)
    with (path.parent / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            context.log.info("another process is training this experiment; waiting for its result")
            fcntl.flock(lock, fcntl.LOCK_EX)
        _set_aside_if_changed(context, source, store, experiment)
        yield


def _set_aside_if_changed(
    context: dg.AssetExecutionContext, source: StudySource, store: StudyStore, experiment: Experiment
) -> None:
    name = experiment.experiment_id
    recorded = latest_versions(context.instance, source.key("training_run"), [name]).get(name)
    try:
        changed = recorded is not None and version_of(store.read("training_run", name)) != recorded
    except FileNotFoundError:
        return
    except FileError as error:
        context.log.warning(str(error))
        changed = True
    if changed:
        kept = set_aside(store.path("training_run", name))
        context.log.warning(f"the result was changed since it was materialized; kept as {kept}, training again")
