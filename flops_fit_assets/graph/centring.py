"""Where the grid of a budget is centred, with `centre_on_law`: on the study's own law, if the budget is new.

A budget that was centred on a law once stays there, whatever becomes of the law, and one that is planned or has been
begun stays where it is: no experiment that exists is touched. What was decided is kept in `centres/`, a file for each
recipe, model and data, so that going back to an earlier one finds its own.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flops_fit.basics.files import read_value, write_value
from flops_fit.basics.formatting import format_count, format_flops
from flops_fit.basics.from_json import from_json
from flops_fit.errors import FileError, FlopsFitWarning
from flops_fit.identity.fingerprints import content_hash
from flops_fit.stages import study_plan
from flops_fit.sweep.experiment import experiment_id
from flops_fit_assets.storage.store import StudyStore

if TYPE_CHECKING:
    from flops_fit.scaling_law import ScalingLaw
    from flops_fit.sizes.size_map import SizeMap
    from flops_fit.study.study import Study
    from flops_fit.sweep.experiment import Experiment
    from flops_fit.sweep.sweep_plan import SweepPlan

CENTRES_SCHEMA = "flops_fit.centres/1"


@dataclass(frozen=True, kw_only=True)
class Centre:
    """The optimum of one budget by the law that was trusted when it was planned."""

    budget: float
    num_params: float
    tokens_per_param: float


@dataclass(frozen=True, kw_only=True)
class Centres:
    """Budgets that are centred on a law, for experiments of one `identity`, N counted as `param_count`."""

    identity: str
    param_count: str
    centres: tuple[Centre, ...] = ()

    @property
    def by_budget(self) -> Mapping[float, Centre]:
        """Budget → its centre."""
        return {centre.budget: centre for centre in self.centres}

    def __call__(self, budget: float) -> float | None:
        """N of the centre, None where it follows from `tokens_per_param`: what `study_plan` takes as `centre`."""
        centre = self.by_budget.get(budget)
        return centre.num_params if centre else None

    def text(self) -> str:
        """The centred budgets as Markdown."""
        return "\n".join(
            f"- {format_flops(budget)}: {format_count(centre.num_params)} parameters, "
            f"{centre.tokens_per_param:.3g} per parameter"
            for budget, centre in sorted(self.by_budget.items())
        )

    def of(self, budgets: list[float]) -> Centres:
        """Those of `budgets` alone."""
        return replace(self, centres=tuple(centre for centre in self.centres if centre.budget in budgets))

    def path(self, store: StudyStore) -> Path:
        """Where centres for these experiments are kept."""
        return store.directory / "centres" / f"{content_hash([self.identity, self.param_count])[:16]}.json"

    def save(self, store: StudyStore) -> Path:
        """Write as JSON, atomically."""
        return write_value(self.path(store), {"schema": CENTRES_SCHEMA, **asdict(self)})

    @classmethod
    def load(cls, path: Path) -> Centres:
        """Read what `save` wrote; raises `FileError` for a torn or changed file."""
        return read_value(path, CENTRES_SCHEMA, lambda content: from_json(cls, content, without=["schema"]))


def centres_of(store: StudyStore, study: Study, size_map: SizeMap, overrides: Mapping[str, Any]) -> Centres | None:
    """What is decided already, and the law's optimum for whatever budget is new; None without `centre_on_law`."""
    if not overrides.get("centre_on_law", study.sweep.centre_on_law):
        return None
    decided = _decided(store, study, size_map)
    law = own_law(store, study, size_map)
    if law is None:
        return decided
    fixed = {*decided.by_budget, *store.read("sweep_plan").compute_budgets, *_begun(store, study, size_map, overrides)}
    budgets = overrides.get("compute_budgets", study.sweep.compute_budgets)
    new = [_optimum(law, budget) for budget in dict.fromkeys(budgets) if budget not in fixed]
    return replace(decided, centres=(*decided.centres, *(centre for centre in new if centre is not None)))


def expected_ratios(plan: SweepPlan, centres: Centres | None, tokens_per_param: float) -> dict[float, float]:
    """Budget → tokens per parameter that its grid is centred on."""
    centred = centres.by_budget if centres else {}
    return {
        budget: centred[budget].tokens_per_param if budget in centred else tokens_per_param
        for budget in plan.compute_budgets
    }


def centred_metadata(centres: Centres | None, plan: SweepPlan) -> dict[str, Any]:
    """Which budgets of the plan are centred on a law, and where."""
    from dagster import MetadataValue

    ours = centres.of(plan.compute_budgets) if centres else None
    return {"centred on the law": MetadataValue.md(ours.text())} if ours and ours.by_budget else {}


def own_law(store: StudyStore, study: Study, size_map: SizeMap) -> ScalingLaw | None:
    """The law on disk if it is of the plan on disk, whose experiments the study would plan today."""
    try:
        plan, law = store.read("sweep_plan"), store.read("scaling_law")
    except (FileNotFoundError, FileError):  # neither is needed to plan; whoever needs it says what is wrong with it
        return None
    ours = {item.experiment_id for item in plan.experiments if _is_of(item, study)}
    fits = plan.param_count == size_map.param_count and ours.issuperset(law.runs.experiment_id)
    return law if fits else None


def _is_of(experiment: Experiment, study: Study) -> bool:
    return experiment.experiment_id == experiment_id(
        budget=experiment.compute_budget,
        size_param=experiment.size_param,
        size=experiment.size_param_value,
        num_tokens=experiment.num_tokens,
        seed=experiment.seed,
        identity=study.outcome_fingerprint(),
        arguments=experiment.arguments,
    )


def _optimum(law: ScalingLaw, budget: float) -> Centre | None:
    """None where N_opt of that budget is not trustworthy."""
    if law.verdict_at(budget, "N_opt") != "trustworthy":
        return None
    at = law.predict(budget)
    return Centre(budget=budget, num_params=float(at["optimal_params"]), tokens_per_param=float(at["tokens_per_param"]))


def _decided(store: StudyStore, study: Study, size_map: SizeMap) -> Centres:
    nothing = Centres(identity=study.outcome_fingerprint(), param_count=size_map.param_count)
    path = nothing.path(store)
    store.pull(path)
    if not path.exists():
        return nothing
    try:
        return Centres.load(path)
    except FileError as error:
        raise FileError(
            f"{error}. Better restore it from a copy: budgets that it centred on the law are otherwise planned, and "
            "trained, at tokens_per_param"
        ) from error


def _begun(store: StudyStore, study: Study, size_map: SizeMap, overrides: Mapping[str, Any]) -> set[float]:
    """Budgets of which an experiment has been begun where `tokens_per_param` puts it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FlopsFitWarning)  # of a plan that is only compared with
        plan: SweepPlan = study_plan(study, size_map, overrides=overrides)
    store.pull_results(item.experiment_id for item in plan.experiments)
    return {item.compute_budget for item in plan.experiments if (store.runs / item.experiment_id).exists()}
