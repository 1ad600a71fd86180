"""A result that was changed by hand since it was materialized is not used."""

from __future__ import annotations

import dagster as dg

from flops_fit.errors import FileError
from flops_fit.sweep.experiment import Experiment
from flops_fit_assets.freshness.history import latest_versions
from flops_fit_assets.freshness.versions import version_of
from flops_fit_assets.source import StudySource


def set_aside_if_changed(context: dg.AssetExecutionContext, source: StudySource, experiment: Experiment) -> None:
    """Rename the result of `experiment` if it is not what was materialized, so that it is trained again."""
    store, name = source.store, experiment.experiment_id
    recorded = latest_versions(context.instance, source.key("training_run"), [name]).get(name)
    try:
        changed = recorded is not None and version_of(store.read("training_run", name)) != recorded
    except FileNotFoundError:
        return
    except FileError as error:
        context.log.warning(str(error))
        changed = True
    if changed:
        kept = store.set_aside("training_run", name)
        context.log.warning(f"the result was changed since it was materialized; kept as {kept}, training again")
