"""Data versions: what an asset *is*, as a hash, so that a re-run that changes nothing wakes nothing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from flops_fit.identity.fingerprints import content_hash
from flops_fit.results.results import ExperimentResult
from flops_fit.sweep.sweep_plan import SweepPlan

if TYPE_CHECKING:
    from flops_fit.recipe_law.tuned_recipe import TunedRecipe
    from flops_fit.scaling_law import Ranking, ScalingLaw
    from flops_fit.sizes.size_map import SizeMap
    from flops_fit.study.study import Study
    from flops_fit.sweep.experiment import Experiment

DATA_VERSION_TAG = "dagster/data_version"
MADE_FROM_TAG = "flops_fit/made_from"
CODE_VERSION = "1"
FIT_VERSION = "2"  # raised when laws are fitted another way: older ones are stale then, and a run fits them anew


def version_of(value: SizeMap | TunedRecipe | SweepPlan | Experiment | ExperimentResult | ScalingLaw) -> str:
    """The data version of what an asset holds.

    A result's leaves out how fast it was, on what machine, and which other had trained its trunk; a plan's the order in
    which budgets were given.
    """
    if isinstance(value, ExperimentResult):
        return value.outcome_hash
    if isinstance(value, SweepPlan):
        return value.content_hash
    return content_hash(value.to_dict())


def size_map_made_from(study: Study) -> str:
    """What a size map follows from: the model alone."""
    return _made_from(study.model_fingerprint())


def recipe_law_made_from(study: Study, size_map_version: str, trials: str) -> str:
    """What a recipe law follows from: model, data, loss and recipe, [tuning], and how the trials ended (`trials`); no
    budgets."""
    settle = study.tuning.settle if study.tuning else 0.0
    return _made_from(study.tuning_fingerprint(), size_map_version, trials, *([settle] if settle else []))


def plan_made_from(study: Study, size_map_version: str, settled: str = "", recipe_law: str = "") -> str:
    """What a plan follows from: the size map, the grid, what decides an experiment's outcome, of an adaptive study
    how the rounds before it ended (`settled`), and of one that tunes its recipe what it found (`recipe_law`)."""
    return _made_from(size_map_version, study.sweep_fingerprint(), *filter(None, [settled, recipe_law]))


def law_made_from(plan_version: str, results: Iterable[ExperimentResult]) -> str:
    """What a law follows from: how laws are fitted, the plan, and the results that belong to it."""
    return _made_from(FIT_VERSION, plan_version, sorted(version_of(result) for result in results))


def comparison_version(ranking: Ranking) -> str:
    """The data version of what several laws say side by side."""
    return content_hash(ranking.to_dict())


def comparison_made_from(laws: Mapping[str, ScalingLaw], at: Sequence[float]) -> str:
    """What a comparison follows from: the laws, and what is asked about."""
    return _made_from({name: version_of(law) for name, law in laws.items()}, list(at))


def training_made_from(experiment: Experiment) -> str:
    """What a training follows from: its experiment alone."""
    return _made_from(version_of(experiment))


def _made_from(*parts: object) -> str:
    return content_hash([CODE_VERSION, *parts])[:32]  # Dagster's tags hold at most 63 characters
