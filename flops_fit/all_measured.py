"""What a study's law says of the rest that was measured: the optima of its other held-out sets, and its metrics."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from flops_fit.basics.diagnostic import gravest_first
from flops_fit.errors import FitError
from flops_fit.results.results import ExperimentResult, results_frame
from flops_fit.study.named_sets import held_out_set
from flops_fit.study.study import Study
from flops_fit.study_law import fit_study
from flops_fit.sweep.sweep_plan import SweepPlan

if TYPE_CHECKING:
    from flops_fit.scaling_law import ScalingLaw


def with_all_measured(
    study: Study, plan: SweepPlan, results: Iterable[ExperimentResult], law: ScalingLaw
) -> ScalingLaw:
    """`law` with the optima that each of the study's held-out sets asks for and what its metrics are predicted to be,
    at the budgets that `law.summary()` shows and at the plan's targets.

    The other sets' laws are fitted for it. As it is for a study with a single set and no metrics.
    """
    from flops_fit.scaling_law.prediction_table import budgets_to_show

    grid = {experiment.experiment_id for experiment in plan.experiments}
    results = list(results)
    ours = [result for result in results if result.experiment_id in grid]
    budgets = budgets_to_show(law.default_budgets()[-2:], plan.target_budgets)
    law = _with_optima_by_set(study, plan, results, ours, budgets, law)
    return _with_metrics(study, ours, budgets, law)


def _with_optima_by_set(
    study: Study,
    plan: SweepPlan,
    results: Sequence[ExperimentResult],
    ours: Sequence[ExperimentResult],
    budgets: Sequence[float],
    law: ScalingLaw,
) -> ScalingLaw:
    from flops_fit.scaling_law.by_set import OPTIMA_OPTION, SET_OPTION, optima_of, unfitted

    names = study.eval_names
    if len(names) < 2:
        return law
    rows: list[dict[str, Any]] = []
    found = list(law.diagnostics)
    for name in names:
        if name == law.options[SET_OPTION]:
            rows += optima_of(name, law, budgets)
            continue
        of_set = held_out_set(study, name)
        found += of_set.findings(ours) if of_set else []
        try:
            rows += optima_of(name, fit_study(study, plan, results, eval_set=name), budgets)
        except FitError as error:  # of a set that was added later, say
            rows.append(unfitted(name, 0, str(error).split(" (")[0]))
    options = {**law.options, OPTIMA_OPTION: rows}
    return dataclasses.replace(law, options=options, diagnostics=gravest_first(found))


def _with_metrics(
    study: Study, ours: Sequence[ExperimentResult], budgets: Sequence[float], law: ScalingLaw
) -> ScalingLaw:
    from flops_fit.scaling_law.by_set import SET_OPTION
    from flops_fit.scaling_law.from_loss.metric_law import fit_metric
    from flops_fit.scaling_law.from_loss.shown import METRICS_OPTION

    if not study.metric_code:
        return law
    of_set = held_out_set(study, law.options.get(SET_OPTION))
    rows: list[dict[str, Any]] = []
    for name, code in study.metric_code.items():
        column = f"{name}_{of_set.name}" if of_set else name
        known = [result for result in ours if result.metrics.get(column) is not None]
        known = [result for result in known if result.measured_by.get(name) == code]
        known = [result for result in known if of_set is None or not of_set.lacks(result)]
        try:
            if not known:
                raise FitError("no result has it as it is measured now")
            rows += fit_metric(law, results_frame(known), column).rows(budgets)
        except FitError as error:
            rows.append({"metric": column, "why": str(error)})
    return dataclasses.replace(law, options={**law.options, METRICS_OPTION: rows})
