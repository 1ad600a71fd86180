"""What a study would add to its plan so that its law knows more, as what is written into its file."""

from __future__ import annotations

import dataclasses
import math
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from flops_fit.basics.formatting import format_count, format_flops, format_seconds
from flops_fit.errors import FlopsFitWarning
from flops_fit.results.results import ExperimentResult
from flops_fit.stages import study_cost, study_plan
from flops_fit.study.study import Study
from flops_fit.sweep.experiment import Experiment, parse_budget
from flops_fit.sweep.sweep_plan import SweepPlan

if TYPE_CHECKING:
    from flops_fit.cost.estimate import CostEstimate
    from flops_fit.scaling_law import ScalingLaw
    from flops_fit.sizes.size_map import SizeMap

STEP = 10**0.5  # between budgets, where a plan has a single one
STEPS = 3  # budgets at most that are added at once
FEWEST = 4  # sizes at a budget, that its curve has a minimum of its own


@dataclass(frozen=True, kw_only=True)
class Extension:
    """Values of the study's options that add experiments to its plan.

    Attributes:
        option, value: as they are written in [sweep].
        experiments: that are added.
        widths: half widths of ln N_opt and ln L_opt at the target, as expected with them; empty where nothing says.
        seconds: that they take, with as many workers as the study has.
        flops: that they do themselves, without what finished experiments have trained of trunks that they share.
    """

    option: str
    value: tuple[float, ...]
    experiments: tuple[Experiment, ...]
    widths: dict[str, float]
    seconds: float
    flops: float


def with_what_is_next(
    study: Study, size_map: SizeMap, plan: SweepPlan, results: Iterable[ExperimentResult], law: ScalingLaw
) -> ScalingLaw:
    """`law` with what the study would add, where it is not trustworthy at the largest of its target budgets (without
    any at ten times its largest run): its summary says that in place of sizes that the model may not have.

    As it is, with a warning that says why, where the study cannot be planned here, such as without its data, which its
    law does not need. One that tunes its recipe has to know it (`Study.with_tuned_recipe`).
    """
    from flops_fit.scaling_law.next_experiments.in_words import NEXT_OPTION

    try:
        said = what_is_next(study, size_map, plan, results, law)
    except Exception as error:  # of the user's own code, or of data that is elsewhere: no reason to lose the law
        why = f"{type(error).__name__}: {error}"
        warnings.warn(f"what to add to the study is not said, as it cannot be planned here: {why}", FlopsFitWarning,
                      stacklevel=2)  # fmt: skip
        return law
    return dataclasses.replace(law, options={**law.options, NEXT_OPTION: said}) if said else law


def what_is_next(
    study: Study,
    size_map: SizeMap,
    plan: SweepPlan,
    results: Iterable[ExperimentResult],
    law: ScalingLaw,
    target: float | None = None,
) -> str:
    """What to add to `study` for the answer at `target` FLOPs, in a line; "" where the law is trusted there, and where
    the runs determine none. Raises `PlanError` for a target that is not above 0."""
    from flops_fit.scaling_law.next_experiments.in_words import FURTHER

    if target is not None:
        parse_budget(target, "target")
    asked = target or max(plan.target_budgets, default=FURTHER * float(law.runs.flops.max()))
    if not law.determined or all(law.verdict_at(asked, name) == "trustworthy" for name in ("N_opt", "loss")):
        return ""
    if study.adaptive is not None:
        more = _round(2 * float(study.adaptive.total_compute or plan.total_flops))
        return f"set total_compute = {_typed(more)} in [adaptive]: its rounds choose the experiments themselves"
    found, why_not = extension_of(study, size_map, plan, list(results), law, asked)
    return _in_words(found, asked, why_not) if found is not None else why_not


def extension_of(
    study: Study,
    size_map: SizeMap,
    plan: SweepPlan,
    results: Sequence[ExperimentResult],
    law: ScalingLaw,
    target: float,
) -> tuple[Extension | None, str]:
    """The fewest larger budgets with which the law is expected to be at least provisional at `target`, or the first of
    them where none is; another seed where the study has no sizes or data for one; and why it has none."""
    budgets, found, why_not = sorted(plan.compute_budgets), [], ""
    costs = partial(_costs, study, results)
    for count in range(1, STEPS + 1):
        more = [*budgets, *_larger(budgets, count)]
        made = _planned(study, size_map, compute_budgets=more)
        why_not = _why_not(made, more[-1], float(law.N_opt(more[-1])))
        if why_not:
            break
        new = [item for item in made.experiments if item.compute_budget not in budgets]
        found.append(_extension("compute_budgets", more, new, costs(made, new), _widths(law, target, new)))
        if _is_enough(found[-1]) or more[-1] >= target:
            break
    if found:
        return (found[-1] if _is_enough(found[-1]) else found[0]), ""
    seeds = [*study.sweep.seeds, max(study.sweep.seeds) + 1]
    made = _planned(study, size_map, seeds=seeds, compute_budgets=budgets)
    new = [item for item in made.experiments if item.seed == seeds[-1]]
    other = _extension("seeds", seeds, new, costs(made, new), _widths(law, target, new))
    return (other if new else None), why_not


def _larger(budgets: Sequence[float], count: int) -> list[float]:
    """So many budgets that go on from the largest as they went on so far."""
    step = (budgets[-1] / budgets[0]) ** (1 / (len(budgets) - 1)) if len(budgets) > 1 else STEP
    step = min(max(step, 2.0), 10.0)
    return [_round(budgets[-1] * step**number) for number in range(1, count + 1)]


def _round(number: float) -> float:
    """To two digits, as a budget is written."""
    return float(f"{number:.1e}")


def _planned(study: Study, size_map: SizeMap, **overrides: Any) -> SweepPlan:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FlopsFitWarning)  # of budgets that nobody asked for
        return study_plan(study, size_map, overrides=overrides)


def _extension(
    option: str, value: Sequence[float], new: Sequence[Experiment], cost: CostEstimate, widths: dict[str, float]
) -> Extension:
    return Extension(
        option=option,
        value=tuple(value),
        experiments=tuple(new),
        widths=widths,
        seconds=cost.wall_seconds,
        flops=float(sum(map(cost.own_flops, new))),
    )


def _costs(
    study: Study, results: Sequence[ExperimentResult], made: SweepPlan, new: Sequence[Experiment]
) -> CostEstimate:
    """What the `new` experiments of a plan cost, by how long the finished ones took, and from where these left the
    trunks that they share with them."""
    cost = study_cost(study, dataclasses.replace(made, checks=[]), results)
    seconds = {item.experiment_id: cost.seconds[item.experiment_id] for item in new}
    return dataclasses.replace(cost, seconds=seconds, device_hours=sum(seconds.values()) / 3600)


def _widths(law: ScalingLaw, target: float, experiments: Sequence[Experiment]) -> dict[str, float]:
    """What the answer's half widths are expected to be with `experiments`; nothing where the law cannot say."""
    from flops_fit.scaling_law.next_experiments.candidate import Candidate, points_of
    from flops_fit.scaling_law.next_experiments.expected import outlook

    points = points_of(
        Candidate(num_params=item.num_params, num_tokens=item.num_tokens, flops=item.planned_flops)
        for item in experiments
    )
    view = outlook(law, target, points)
    for index in range(len(points)):
        view = view and view.after(index)
    return view.widths() if view else {}


def _is_enough(found: Extension) -> bool:
    """Whether N_opt and loss are expected to be provisional at least."""
    from flops_fit.scaling_law.checks.verdict import EVEN, LIMITS

    limits = {"N_opt": LIMITS["N_opt"], "L_opt": LIMITS["loss"]}
    return bool(found.widths) and all(found.widths[name] <= EVEN * math.log1p(limits[name]) for name in limits)


def _why_not(made: SweepPlan, budget: float, optimum: float) -> str:
    """Why a larger budget shows no minimum: too few sizes, or all on one side of N = `optimum`; "" where it does."""
    sizes = {item.num_params for item in made.experiments if item.compute_budget == budget}
    if len(sizes) >= FEWEST and min(sizes) < optimum < max(sizes):
        return ""
    told = [note for note in made.notes if format_flops(budget) in note]
    reasons = [point.reason for point in made.dropped if point.compute_budget == budget]
    beside = f"its sizes lie all to one side of the optimum, {format_count(optimum)} parameters"
    return next(iter([*told, *(f"at {format_flops(budget)} FLOPs {reason}" for reason in (*reasons, beside))]))


def _in_words(found: Extension, target: float, why_not: str) -> str:
    from flops_fit.scaling_law.next_experiments.in_words import hope

    values, count = ", ".join(_typed(value) for value in found.value), len(found.experiments)
    cost = f"{count} more experiment{'s' if count != 1 else ''}, {format_flops(found.flops)} FLOPs"
    expected = f"; {hope(target, found.widths)}" if found.widths else ""
    but = f"; no larger budget, since {why_not}" if found.option == "seeds" and why_not else ""
    return f"set {found.option} = [{values}] in [sweep]: {cost}, {format_seconds(found.seconds)}{expected}{but}"


def _typed(number: float) -> str:
    """`5e+09` as people write it: 5e9."""
    return f"{number:g}".replace("e+0", "e").replace("e+", "e")
