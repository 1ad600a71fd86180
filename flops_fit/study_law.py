"""The law of a study: of the results that belong to its plan, with what their checks say."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import TYPE_CHECKING

from flops_fit.basics.diagnostic import gravest_first
from flops_fit.rate_check.noise import noise_of
from flops_fit.rate_check.rate_check import RateCheck, rate_check
from flops_fit.results.finished import as_planned
from flops_fit.results.on_set import HeldOutSet
from flops_fit.results.results import ExperimentResult, results_frame
from flops_fit.study.named_sets import held_out_set
from flops_fit.study.study import Study
from flops_fit.sweep.sweep_plan import SweepPlan

if TYPE_CHECKING:
    from flops_fit.scaling_law import ScalingLaw


def fit_study(
    study: Study, plan: SweepPlan, results: Iterable[ExperimentResult], *, eval_set: str | None = None
) -> ScalingLaw:
    """Last stage: the scaling law of the results that belong to `plan`, whatever else is given.

    Of a study with several held-out sets it is that of `eval_set`, by default `DataSpec.eval_for_law`. A result that
    was trained from something else than the plan was made of, or has no loss on that set, is left out, with that as its
    reason. Raises `StudyError` for a set that the study does not have.
    """
    from flops_fit.rate_check.findings import findings_of
    from flops_fit.scaling_law import fit_scaling_law
    from flops_fit.scaling_law.by_set import SET_OPTION
    from flops_fit.scaling_law.checks.of_experts import experts_finding

    of_set, results = held_out_set(study, eval_set), list(results)
    there = _as_planned(plan, results, of_set)
    grid = {experiment.experiment_id for experiment in plan.experiments}
    runs = results_frame(result for name, result in there.items() if name in grid)
    unit = study.loss.unit_of(plan.data_unit) if study.loss else study.trainer.loss_unit if study.trainer else None
    known = dict.fromkeys(("num_params", "num_tokens", "flops", "loss"), 1)  # counted here: no unit is in doubt
    law = fit_scaling_law(runs, units=known, loss_unit=unit or "")
    found = list(of_set.findings(result for result in results if result.experiment_id in grid)) if of_set else []
    if of_set is not None:
        law = dataclasses.replace(law, options={**law.options, SET_OPTION: of_set.name})
    checked = study_rate_check(study, plan, results, law)
    if checked is not None:
        found += findings_of(checked, _remedy_for_the_rate(study))
    asked = plan.target_budgets or law.default_budgets()[-2:]
    found += experts_finding(law, plan.experiments, plan.param_count, asked)
    return dataclasses.replace(law, diagnostics=gravest_first((*law.diagnostics, *found))) if found else law


def study_rate_check(
    study: Study, plan: SweepPlan, results: Iterable[ExperimentResult], law: ScalingLaw
) -> RateCheck | None:
    """What came of the checks of the learning rate in `plan`; None where it has none. `law` is that of its grid, whose
    runs tell the noise of a training."""
    from flops_fit.scaling_law.by_set import SET_OPTION

    if not plan.checks:
        return None
    name = law.options.get(SET_OPTION)
    of_set = held_out_set(study, name if name in study.eval_names else None)
    return rate_check(plan.experiments, plan.checks, _as_planned(plan, results, of_set), noise_of(law))


def _as_planned(
    plan: SweepPlan, results: Iterable[ExperimentResult], of_set: HeldOutSet | None
) -> dict[str, ExperimentResult]:
    """By id those of `results` that are of `plan`, checks included, as it counts them, with the loss on `of_set`."""
    wanted = {experiment.experiment_id: experiment for experiment in plan.trainings}
    ours = [as_planned(result, wanted[name]) for result in results if (name := result.experiment_id) in wanted]
    return {result.experiment_id: of_set.taken(result) if of_set else result for result in ours}


def _remedy_for_the_rate(study: Study) -> str:
    if study.tuning is None:
        return 'set learning_rate = "tune" in [training], or make it a function of the experiment that follows the best'
    return (
        f"give the trials more than share = {study.tuning.share:g} in [tuning], and more than {study.tuning.trainings}"
    )
