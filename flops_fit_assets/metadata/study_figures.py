"""All figures of a study: of its law, of its trainings, of what it costs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from flops_fit.cost.drawn_costs import drawn_costs
from flops_fit.drawing.drawn import Drawn, NotDrawn
from flops_fit.loss_curves.curves import LOG_FILE, study_curves
from flops_fit.loss_curves.drawn_curves import drawn_curves
from flops_fit.results.results import ExperimentResult
from flops_fit.stages import study_cost
from flops_fit_assets.storage.store import StudyStore

if TYPE_CHECKING:
    from flops_fit.scaling_law import ScalingLaw
    from flops_fit.study.study import Study
    from flops_fit.sweep.sweep_plan import SweepPlan


def study_figures(
    store: StudyStore, study: Study, plan: SweepPlan, law: ScalingLaw, results: Mapping[str, ExperimentResult]
) -> dict[str, Drawn | NotDrawn]:
    """By name; one that cannot be drawn is a note, so that no figure costs the law."""
    from flops_fit.scaling_law.figures.of_law import law_figures

    store.pull(*(store.runs / item.experiment_id / LOG_FILE for item in plan.trainings))
    curves = drawn_curves(study_curves(plan.trainings, results, store.runs), law.loss_unit)
    before = study_cost(study, plan, results.values(), store.directory, learn=False)
    costs = drawn_costs(plan, results, before, study_cost(study, plan, results.values(), store.directory))
    return law_figures(law) | curves | costs
