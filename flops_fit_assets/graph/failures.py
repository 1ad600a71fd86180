"""Experiments without a result that counts: what failed trainings left of themselves, and the runs that failed."""

from __future__ import annotations

from collections.abc import Sequence

from dagster import DagsterInstance

from flops_fit.errors import FileError
from flops_fit.results.results import ExperimentResult
from flops_fit_assets.freshness.history import unfinished_runs
from flops_fit_assets.metadata.missing import missing_experiments
from flops_fit_assets.metadata.shared import Metadata
from flops_fit_assets.source import StudySource
from flops_fit_assets.storage.store import StudyStore

_SHOWN = 40  # of the experiments that a law lacks


def missing_metadata(source: StudySource, instance: DagsterInstance, missing: Sequence[str]) -> Metadata:
    """The experiments that a law lacks, each with why and with a link to the run that failed; nothing where it lacks
    none."""
    if not missing:
        return {}
    left = left_by_failures(source.store, missing[:_SHOWN])
    runs = unfinished_runs(instance, source.key("training_run"))
    return {"missing": missing_experiments(missing, left, runs, _SHOWN)}


def left_by_failures(store: StudyStore, names: Sequence[str]) -> dict[str, ExperimentResult]:
    """Of the experiments `names`, none of which has been materialized, the results that say why, by experiment id."""
    store.pull_results(names)
    found = {}
    for name in names:
        try:
            result = store.read_here("training_run", name)
        except (FileNotFoundError, FileError):
            continue
        if not result.is_final:  # a final one that was not materialized was changed, or is about to be
            found[name] = result
    return found
