"""Asset checks, each able to fail, computed beside the value they judge."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from statistics import median
from typing import TYPE_CHECKING, Any

from dagster import AssetCheckResult, AssetCheckSeverity, AssetCheckSpec, AssetKey

from flops_fit.basics.formatting import format_count, format_flops
from flops_fit.recipe_law.settling import TOLERATED_EXCESS
from flops_fit.sweep.experiment import PLAN_TOLERANCE
from flops_fit.sweep.grid import FEWEST_SIZES
from flops_fit.sweep.reasons import SIX_N_WARNING_RATIO

if TYPE_CHECKING:
    from flops_fit.adaptive.progress import Progress
    from flops_fit.recipe_law.next_round import Tuning
    from flops_fit.results.results import ExperimentResult
    from flops_fit.scaling_law import ScalingLaw
    from flops_fit.sizes.size_map import SizeMap
    from flops_fit.sweep.experiment import Experiment
    from flops_fit.sweep.sweep_plan import SweepPlan

AGREEMENT = 1.5  # factor in N_opt
_NAMED = 40  # experiments in what a check found; the page of the law has how many there are
_BLOCKING = {"affordable", "within_total"}

_DESCRIPTIONS = {
    "size_map": {
        "parameters_grow_with_size": "A larger size has more parameters.",
        "six_n_is_sound": "Where FLOPs per token are taken as 6 N, those measured are typically within a factor "
        f"{SIX_N_WARNING_RATIO:g} of it.",
    },
    "recipe_law": {
        "sure_at_the_largest": "The loss expected to be lost at the largest experiment, because the best recipe is not "
        f"known exactly, is at most {TOLERATED_EXCESS:.1%}.",
        "recipe_is_sound": "Nothing found speaks against the rule.",
    },
    "sweep_plan": {
        "flops_on_budget": "Every experiment's FLOPs are within 2 % of its budget.",
        "enough_sizes": f"Every budget has at least {FEWEST_SIZES} sizes, or its minimum cannot be found, and "
        "all together have enough for a law.",
        "brackets_the_optimum": "Every budget has sizes with more and with fewer tokens per parameter than the "
        "optimum that is expected (tokens_per_param of the study, or a law's).",
        "affordable": "What is left to train stays within max_cost and max_hours of [hardware]. If not, nothing after "
        "the plan is run.",
    },
    "training_run": {
        "loss_is_finite": "The training did not diverge.",
        "flops_as_planned": "The FLOPs done are within 2 % of the budget.",
        "below_trivial_baseline": "The held-out loss is below the training loss of the first step, when nothing had "
        "been learnt.",
    },
    "scaling_law": {
        "minima_are_interior": "The best size of each budget lies inside its grid, not at an end.",
        "no_experiment_missing": "Every experiment of the plan has a result.",
        "approaches_agree": f"The law's N_opt is within a factor {AGREEMENT:g} of the minimum of each budget's own "
        "curve, where that lies inside its grid.",
        "trustworthy": "Nothing found speaks against the law.",
    },
}
_ADAPTIVE_PLAN = {
    **{name: _DESCRIPTIONS["sweep_plan"][name] for name in ("flops_on_budget", "affordable")},
    "within_total": "What the rounds have spent and what is planned stays within total_compute, max_cost and max_hours "
    "of [adaptive]. If not, nothing after the plan is run.",
}


def check_specs(stage: str, key: AssetKey, *, adaptive: bool = False) -> list[AssetCheckSpec]:
    """The checks of the asset `key`, which is of `stage` of a study with a grid, or an `adaptive` one."""
    described = _ADAPTIVE_PLAN if adaptive and stage == "sweep_plan" else _DESCRIPTIONS[stage]
    return [
        AssetCheckSpec(name, asset=key, description=text, blocking=name in _BLOCKING)
        for name, text in described.items()
    ]


def size_map_checks(size_map: SizeMap) -> list[AssetCheckResult]:
    """Parameters grow with size, and 6 N is near the FLOPs that were measured."""
    by_size = size_map.entries if size_map.is_table else sorted(size_map.entries, key=lambda entry: entry.size)
    falls = [
        f"{size_map.label(after)} after {size_map.label(before)}"
        for before, after in itertools.pairwise(by_size)
        if after.num_params <= before.num_params
    ]
    return [
        _warn("parameters_grow_with_size", not falls, "; ".join(falls) or "strictly increasing"),
        _six_n(size_map),
    ]


def _six_n(size_map: SizeMap) -> AssetCheckResult:
    name = "six_n_is_sound"
    if size_map.flops_method != "6nd":
        return _warn(name, True, f"not used: FLOPs per token are given by {size_map.flops_method}")
    known = [item for item in size_map.entries if item.measured_flops_per_token]
    ratios = [(item.measured_flops_per_token or 0.0) / item.flops_per_token for item in known]
    if not ratios:
        return _warn(name, True, "nothing was measured to compare with; give the study's data and loss to measure")
    typical = median(ratios)
    found = f"measured are x{typical:.3g} of it (x{min(ratios):.3g} to x{max(ratios):.3g} over the sizes)"
    sound = 1 / SIX_N_WARNING_RATIO <= typical <= SIX_N_WARNING_RATIO
    return _warn(name, sound, found if sound else f'{found}; give flops = "measured" in [model]')


def recipe_checks(now: Tuning) -> list[AssetCheckResult]:
    """Little expected to be lost at the largest experiment, and no finding against the rule, once there is one."""
    found = now.found
    if found is None:
        return [_warn(name, False, f"not known yet; {now.reason}") for name in _DESCRIPTIONS["recipe_law"]]
    return [
        _warn("sure_at_the_largest", found.excess_at_largest <= TOLERATED_EXCESS, found.excess_text),
        _warn("recipe_is_sound", not found.against, "; ".join(found.against) or "no finding"),
    ]


def plan_checks(
    plan: SweepPlan,
    tokens_per_param: Mapping[float, float],
    refusal: str | None,
    limits: str,
    progress: Progress | None = None,
) -> list[AssetCheckResult]:
    """FLOPs on budget, enough sizes in each, on both sides of the optimum, and within what may be spent.

    Args:
        tokens_per_param: where the grid of each budget is centred.
        refusal: what speaks against paying for what is left, if anything does.
        limits: what may be spent, in words.
        progress: of an adaptive study, whose budgets are not judged one by one but by what is spent in all.
    """
    off = [item.experiment_id for item in plan.experiments if _off_budget(item.planned_flops, item.compute_budget)]
    sizes = {budget: len({item.size_param_value for item in items}) for budget, items in plan.by_budget().items()}
    on_budget = _error("flops_on_budget", not off, ", ".join(off) or f"all {plan.num_experiments} within 2 %")
    affordable = _error("affordable", refusal is None, refusal or limits)
    if progress is not None:
        return [on_budget, affordable, _within_total(progress)]
    few = [f"{format_flops(budget)} has {count}" for budget, count in sizes.items() if count < FEWEST_SIZES]
    few += [plan.too_few] if plan.too_few else []
    return [
        on_budget,
        _warn("enough_sizes", not few, "; ".join(few) or f"at least {min(sizes.values(), default=0)} each"),
        _brackets(plan, tokens_per_param),
        affordable,
    ]


def _within_total(progress: Progress) -> AssetCheckResult:
    """The rounds together, as spent and as planned, against the total: over it only where the total was lowered."""
    found = f"{progress.planned.text(progress.options)} spent and planned; {progress.state()}"
    return _error("within_total", progress.planned.share_of(progress.options) <= 1 + PLAN_TOLERANCE, found)


def _brackets(plan: SweepPlan, centres: Mapping[float, float]) -> AssetCheckResult:
    one_sided = []
    for budget, items in plan.by_budget().items():
        centre, seen = centres[budget], [item.tokens_per_param for item in items]
        lacking = [side for side, there in (("fewer", any(ratio < centre for ratio in seen)),
                                            ("more", any(ratio > centre for ratio in seen))) if not there]  # fmt: skip
        if lacking:
            one_sided.append(f"{format_flops(budget)} has no size with {' or '.join(lacking)}")
    wanted = ", ".join(f"{centre:.3g}" for centre in sorted(set(centres.values())))
    found = f"; {plan.data_unit}s per parameter against {wanted}: add larger or smaller sizes, or move the budget"
    return _warn(
        "brackets_the_optimum",
        not one_sided,
        "; ".join(one_sided) + found if one_sided else f"both sides of {wanted}",
    )


def run_checks(experiment: Experiment, result: ExperimentResult, first_loss: float | None) -> list[AssetCheckResult]:
    """Finite loss, FLOPs as planned, and better than the training loss of the first step, where that is known."""
    share = result.flops / experiment.compute_budget
    on_budget = not _off_budget(result.flops, experiment.compute_budget)
    return [
        _error("loss_is_finite", result.status == "completed", result.reason or f"held-out loss {result.loss}"),
        _error("flops_as_planned", on_budget, f"{share:.4f} of the budget"),
        _learnt(result, first_loss),
    ]


def _learnt(result: ExperimentResult, first_loss: float | None) -> AssetCheckResult:
    name = "below_trivial_baseline"
    if result.loss is None:
        return _warn(name, False, "there is no held-out loss")
    if first_loss is None:
        return _warn(name, True, "the loss of the first step is not known, so this was not judged")
    below = result.loss < first_loss
    found = f"held-out loss {result.loss:.4g}, training loss of the first step {first_loss:.4g}"
    remedy = "; nothing was learnt: see that the data fits the loss, and `flops-fit learning-rate`"
    return _warn(name, below, found if below else found + remedy)


def law_checks(law: ScalingLaw, missing: Sequence[str]) -> list[AssetCheckResult]:
    """Interior minima, no missing experiment, approaches that agree, a law that can be trusted."""
    from flops_fit.scaling_law.prediction_table import verdict_rows

    outside = [format_flops(minimum.compute_budget) for minimum in law.isoflops if not minimum.interior]
    findings = [f"{item.message} {item.remedy}" for item in law.diagnostics if item.severity != "info"]
    targets = (
        f"at {compute} FLOPs N_opt {size} ({of_size}), loss {loss} ({of_loss}), at 90 %;"
        for compute, size, of_size, loss, of_loss in verdict_rows(law, law.default_budgets()[-2:-1])
    )
    verdict = f"{law.verdict}: " + " ".join([*targets, *(findings or ["no finding speaks against it"])])
    serious = _error if law.verdict == "not supported" else _warn
    return [
        _warn("minima_are_interior", not outside, f"at an end: {', '.join(outside)}" if outside else "all of them"),
        _warn("no_experiment_missing", not missing, _named(missing) or "none missing"),
        _agreement(law),
        serious("trustworthy", law.verdict == "trustworthy", verdict),
    ]


def _named(ids: Sequence[str]) -> str:
    more = f" and {len(ids) - _NAMED:,} more" if len(ids) > _NAMED else ""
    return ", ".join(ids[:_NAMED]) + more


def _agreement(law: ScalingLaw) -> AssetCheckResult:
    """The budgets' own minima, freed of what a parabola does wrong on these sizes, against the law."""
    inside = [minimum for minimum in law.isoflops if minimum.interior]
    if not inside:
        return _warn("approaches_agree", True, "no budget has a minimum inside its grid to compare with")
    apart = []
    for minimum in inside:
        own, fitted = minimum.N / minimum.bias, law.N_opt(minimum.compute_budget)
        if not 1 / AGREEMENT <= own / fitted <= AGREEMENT:
            apart.append(
                f"at {format_flops(minimum.compute_budget)} its own minimum is at {format_count(own)} parameters, the "
                f"law's at {format_count(fitted)}"
            )
    found = "; ".join(apart) or f"all {len(inside)} minima within a factor {AGREEMENT:g}"
    return _warn("approaches_agree", not apart, found)


def _off_budget(flops: float, budget: float) -> bool:
    return abs(flops / budget - 1) > PLAN_TOLERANCE


def _warn(name: str, passed: bool, found: str) -> AssetCheckResult:
    return _result(name, passed, found, AssetCheckSeverity.WARN)


def _error(name: str, passed: bool, found: str) -> AssetCheckResult:
    return _result(name, passed, found, AssetCheckSeverity.ERROR)


def _result(name: str, passed: bool, found: str, severity: Any) -> AssetCheckResult:
    return AssetCheckResult(check_name=name, passed=bool(passed), severity=severity, metadata={"found": found})
