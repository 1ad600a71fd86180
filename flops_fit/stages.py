"""The stages of a study as functions of it: size map, plan, law."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from flops_fit.basics.random_state import isolated_random_state
from flops_fit.errors import FlopsFitWarning, StudyError
from flops_fit.processes.alive import users_code
from flops_fit.recipe.recipe import doubts
from flops_fit.results.finished import as_planned
from flops_fit.results.results import ExperimentResult, results_frame
from flops_fit.sizes.size_map import SizeMap, size_map_of
from flops_fit.study.sections import SweepOptions
from flops_fit.study.study import Study
from flops_fit.sweep.sweep_plan import SweepPlan, plan_from_size_map

if TYPE_CHECKING:
    from flops_fit.scaling_law import ScalingLaw


_SAMPLE_EXAMPLES = 4


@users_code("its sizes are probed")
def study_size_map(study: Study) -> SizeMap:
    """Stage one: size → parameters and FLOPs per token. Knows no budgets."""
    _ = study.identity  # before any of its code has run
    data, sample = study.prepared_data, {}
    if data is not None and study.loss_function is not None:
        # measured also where 6·N is used, to tell how far it is off
        with isolated_random_state():
            batch = data.train.first(_SAMPLE_EXAMPLES)
        sample = {
            "sample_batch": batch,
            "loss_fn": study.loss_function,
            "tokens_per_example": data.tokens_per_example,
        }
    elif study.model.flops == "measured":
        raise StudyError('flops = "measured" needs the study\'s data and loss; give both, or flops = "6nd"')
    return size_map_of(study.model.request(**sample))


@users_code("its sweep is planned")
def study_plan(
    study: Study, size_map: SizeMap, *, overrides: Mapping[str, Any] | None = None, centre: Any = None
) -> SweepPlan:
    """Stage two: the IsoFLOP grid. `overrides` replace options of `study.sweep` by name, such as `compute_budgets`.

    `centre` as in `flops_fit.sweep.grid.GridOptions`.

    Warns where the recipe follows a published rule (`flops_fit.recipe.published_rules`) outside its range.
    """
    given = {item.name: getattr(study.sweep, item.name) for item in dataclasses.fields(study.sweep)}
    sweep = SweepOptions(**given | dict(overrides or {}))
    data, outcome = study.prepared_data, study.outcome_fingerprint()
    plan = plan_from_size_map(
        size_map,
        sweep.compute_budgets,
        **sweep.grid(),
        centre=centre,
        dataset_tokens=data.num_tokens if data else None,
        tokens_per_example=data.tokens_per_example if data else 1,
        identity=outcome,
        model_kwargs=study.model.kwargs,
    )
    embedded = any(entry.non_embedding_params not in (None, entry.num_params) for entry in size_map.entries)
    found = () if study.trainer else doubts(study.training, plan.experiments, counts_embeddings=embedded)
    for doubt in found:
        warnings.warn(doubt, FlopsFitWarning, stacklevel=2)
    targets = tuple(float(target) for target in sweep.target_budgets)
    return dataclasses.replace(
        plan,
        experiments=[dataclasses.replace(item, outcome_fingerprint=outcome) for item in plan.experiments],
        notes=(*plan.notes, *found),
        target_budgets=targets,
        made_from=study.outcome_parts(),
    )


def fit_study(study: Study, plan: SweepPlan, results: Iterable[ExperimentResult]) -> ScalingLaw:
    """Last stage: the scaling law of the results that belong to `plan`, whatever else is given.

    A result that was trained from something else than the plan was made of is left out, with that as its reason.
    """
    from flops_fit.scaling_law import fit_scaling_law

    wanted = {experiment.experiment_id: experiment for experiment in plan.experiments}
    ours = [result for result in results if result.experiment_id in wanted]
    runs = results_frame(as_planned(result, wanted[result.experiment_id]) for result in ours)
    return fit_scaling_law(runs, units={"num_params": 1, "num_tokens": 1, "flops": 1})
