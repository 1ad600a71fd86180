"""Asset checks, each able to fail, computed beside the value they judge."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from dagster import AssetCheckResult, AssetCheckSeverity, AssetCheckSpec, AssetKey

from flops_fit.formatting import format_flops

if TYPE_CHECKING:
    from flops_fit.results import ExperimentResult
    from flops_fit.scaling_law import ScalingLaw
    from flops_fit.size_map import SizeMap
    from flops_fit.sweep import Experiment, SweepPlan

FLOPS_TOLERANCE = 0.02
FEWEST_SIZES = 4  # for a parabola with an interval

_DESCRIPTIONS = {
    "size_map": {"parameters_grow_with_size": "A larger size has more parameters."},
    "sweep_plan": {
        "flops_on_budget": "Every experiment's FLOPs are within 2 % of its budget.",
        "enough_sizes": f"Every budget has at least {FEWEST_SIZES} sizes, or its minimum cannot be found.",
    },
    "training_run": {
        "loss_is_finite": "The training did not diverge.",
        "flops_as_planned": "The FLOPs done are within 2 % of the budget.",
    },
    "scaling_law": {
        "minima_are_interior": "The best size of each budget lies inside its grid, not at an end.",
        "no_experiment_missing": "Every experiment of the plan has a result.",
        "trustworthy": "Nothing found speaks against the law.",
    },
}


def check_specs(stage: str, key: AssetKey) -> list[AssetCheckSpec]:
    """The checks of the asset `key`, which is of `stage`."""
    return [AssetCheckSpec(name, asset=key, description=text) for name, text in _DESCRIPTIONS[stage].items()]


def size_map_checks(size_map: SizeMap) -> list[AssetCheckResult]:
    """Parameters grow with size."""
    by_size = sorted(size_map.entries, key=lambda entry: entry.size)
    falls = [
        f"{size_map.label(after)} after {size_map.label(before)}"
        for before, after in itertools.pairwise(by_size)
        if after.num_params <= before.num_params
    ]
    return [_warn("parameters_grow_with_size", not falls, "; ".join(falls) or "strictly increasing")]


def plan_checks(plan: SweepPlan) -> list[AssetCheckResult]:
    """FLOPs on budget, and enough sizes in each."""
    off = [item.experiment_id for item in plan.experiments if _off_budget(item.planned_flops, item.compute_budget)]
    sizes = {
        budget: len({item.size_param_value for item in plan.experiments if item.compute_budget == budget})
        for budget in plan.compute_budgets
    }
    few = [f"{format_flops(budget)} has {count}" for budget, count in sizes.items() if count < FEWEST_SIZES]
    return [
        _error("flops_on_budget", not off, ", ".join(off) or f"all {plan.num_experiments} within 2 %"),
        _warn("enough_sizes", not few, "; ".join(few) or f"at least {min(sizes.values(), default=0)} each"),
    ]


def run_checks(experiment: Experiment, result: ExperimentResult) -> list[AssetCheckResult]:
    """Finite loss, FLOPs as planned."""
    share = result.flops / experiment.compute_budget
    on_budget = not _off_budget(result.flops, experiment.compute_budget)
    return [
        _error("loss_is_finite", result.status == "completed", result.reason or f"held-out loss {result.loss}"),
        _error("flops_as_planned", on_budget, f"{share:.4f} of the budget"),
    ]


def law_checks(law: ScalingLaw, missing: Sequence[str]) -> list[AssetCheckResult]:
    """Interior minima, no missing experiment, a law that can be trusted."""
    outside = [format_flops(minimum.compute_budget) for minimum in law.isoflops if not minimum.interior]
    findings = [f"{item.message} {item.remedy}" for item in law.diagnostics if item.severity != "info"]
    verdict = f"{law.verdict}: " + (" ".join(findings) or "no finding speaks against it")
    serious = _error if law.verdict == "not supported" else _warn
    return [
        _warn("minima_are_interior", not outside, f"at an end: {', '.join(outside)}" if outside else "all of them"),
        _warn("no_experiment_missing", not missing, ", ".join(missing) or "none missing"),
        serious("trustworthy", law.verdict == "trustworthy", verdict),
    ]


def _off_budget(flops: float, budget: float) -> bool:
    return abs(flops / budget - 1) > FLOPS_TOLERANCE


def _warn(name: str, passed: bool, found: str) -> AssetCheckResult:
    return _result(name, passed, found, AssetCheckSeverity.WARN)


def _error(name: str, passed: bool, found: str) -> AssetCheckResult:
    return _result(name, passed, found, AssetCheckSeverity.ERROR)


def _result(name: str, passed: bool, found: str, severity: Any) -> AssetCheckResult:
    return AssetCheckResult(check_name=name, passed=bool(passed), severity=severity, metadata={"found": found})
