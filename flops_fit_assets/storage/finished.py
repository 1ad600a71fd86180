"""The results that a study's folder has of a plan."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flops_fit.results.results import ExperimentResult, load_results
from flops_fit_assets.storage.store import StudyStore

if TYPE_CHECKING:
    from flops_fit.sweep.sweep_plan import SweepPlan


def finished_results(store: StudyStore, plan: SweepPlan) -> dict[str, ExperimentResult]:
    """The final results of the experiments of `plan`, by id."""
    wanted = {item.experiment_id for item in plan.trainings}
    store.pull_results(wanted)
    results = load_results(store.runs)
    return {item.experiment_id: item for item in results if item.experiment_id in wanted and item.is_final}
