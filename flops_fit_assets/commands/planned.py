"""What a study would train, what of it is there, and what the rest costs: what `flops-fit plan` shows, as one value."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from flops_fit.cost.devices import devices_refusal
from flops_fit.cost.estimate import CostEstimate
from flops_fit.cost.spending import Spending, over_limit, spending
from flops_fit.errors import FlopsFitWarning, PlanError
from flops_fit.kept_size_map import kept_size_map
from flops_fit.results.results import ExperimentResult, load_results
from flops_fit.stages import plan_to_look_at, rounds_plan, study_cost, study_progress
from flops_fit.study.study import Study
from flops_fit.sweep.enough import empty_budgets
from flops_fit.sweep.experiment import parse_budget
from flops_fit_assets.graph.centring import centres_of
from flops_fit_assets.graph.tuned_study import with_recipe
from flops_fit_assets.source import StudySource
from flops_fit_assets.storage.finished import finished_results
from flops_fit_assets.storage.store import StudyStore

if TYPE_CHECKING:
    from flops_fit.adaptive.progress import Progress
    from flops_fit.scaling_law import ScalingLaw
    from flops_fit.sizes.size_map import SizeMap
    from flops_fit.sweep.sweep_plan import SweepPlan


@dataclass(frozen=True, kw_only=True)
class Planned:
    """A study's plan with its results and cost.

    Attributes:
        progress: of an adaptive study, how far it has come; None of a grid.
        instead_of: the file's budgets, where others were asked for.
        apart: why its trainings are never taken together in one process, where the study's store is the reason.
    """

    study: Study
    plan: SweepPlan
    done: Mapping[str, ExperimentResult]
    cost: CostEstimate
    spent: Spending
    progress: Progress | None = None
    instead_of: tuple[float, ...] = ()
    apart: str | None = None

    @property
    def refusals(self) -> list[str]:
        """Why `flops-fit run` would train nothing."""
        refusals = [
            over_limit(self.spent, self.study.hardware),
            devices_refusal(self.study.hardware, self.cost.too_large),
        ]
        if self.study.adaptive is None:
            refusals.append(self.plan.too_few)
        if self.study.adaptive is None and self.plan.experiments:
            refusals += [empty_budgets(self.plan.by_budget(), self.plan.notes)]
        return list(filter(None, refusals))

    @property
    def is_empty(self) -> bool:
        """Whether a grid has no experiment at all."""
        return not self.plan.experiments and self.study.adaptive is None

    def state(self, experiment_id: str) -> str:
        """ "done" or "imported" where there is a final result, else "to train"."""
        result = self.done.get(experiment_id)
        return "to train" if result is None else "done" if result.source == "trained" else result.source


def planned_study(path: Path, budgets: str | None = None) -> Planned:
    """The plan of the study file at `path` as it is now, of compute `budgets` (FLOPs, with commas) instead of its own.

    Writes nothing into the study's folder. Raises `FlopsFitError` for a study or budgets that are not valid.
    """
    own = StudySource.of(path)
    source = own if budgets is None else dataclasses.replace(own, origin=_with_budgets(own.study, budgets))
    study, store = with_recipe(source), source.store
    size_map, progress = kept_size_map(study), None
    if study.adaptive is not None:
        plan, progress = _rounds(store, study, size_map)
    else:
        plan = _said_once(lambda: plan_to_look_at(study, size_map, centre=centres_of(store, study, size_map, {})))
    done = finished_results(store, plan)
    cost = study_cost(study, plan, done.values(), store.directory)
    return Planned(
        study=study,
        plan=plan,
        done=done,
        cost=cost,
        spent=spending(plan, cost, done, study.hardware),
        progress=progress,
        instead_of=() if budgets is None else tuple(map(float, own.study.sweep.compute_budgets)),
        apart=store.apart,
    )


def _said_once(make: Callable[[], SweepPlan]) -> SweepPlan:
    """The plan that `make` gives, and its warnings but for those that the plan itself says as what is wrong with it."""
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always", FlopsFitWarning)
        plan = make()
    for item in said:
        if plan.experiments or str(item.message) not in (plan.too_few or ""):
            warnings.warn(item.message, item.category, stacklevel=3)
    return plan


def _with_budgets(study: Study, text: str) -> Study:
    if study.adaptive is not None:
        raise PlanError(
            f"--budgets {text} is for a grid, and {study.name} is adaptive: it chooses its budgets itself, below "
            f"total_compute = {study.adaptive.total_compute}; leave --budgets out"
        )
    asked = [parse_budget(part.strip(), "--budgets") for part in text.split(",") if part.strip()]
    if not asked:
        raise PlanError(f"--budgets {text!r} names no budget; give FLOPs with commas between: --budgets 1e9,1e10")
    return dataclasses.replace(study, sweep=dataclasses.replace(study.sweep, compute_budgets=tuple(asked)))


def _rounds(store: StudyStore, study: Study, size_map: SizeMap) -> tuple[SweepPlan, Progress]:
    """The plan with the round that would be next, and how far the study has come."""
    progress = rounds_so_far(store, study, size_map)
    new = () if progress.step.planned is None else (progress.step.planned,)
    return rounds_plan(study, size_map, (*progress.rounds, *new)), progress


def rounds_so_far(store: StudyStore, study: Study, size_map: SizeMap, law: ScalingLaw | None = None) -> Progress:
    """How far an adaptive study has come by its results in `store`; `law`, of these, is fitted where it is needed."""
    from flops_fit_assets.graph.rounds import kept_rounds

    rounds = kept_rounds(store, study)
    ids = [item.experiment_id for item in rounds_plan(study, size_map, rounds).experiments]
    store.pull_results(ids)
    results = {item.experiment_id: item for item in load_results(store.runs) if item.experiment_id in set(ids)}
    return study_progress(study, size_map, rounds, results, law=law)
