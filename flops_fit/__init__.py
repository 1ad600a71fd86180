"""How large a model, how many tokens, what loss, how sure: IsoFLOP studies for any PyTorch model class.

`import flops_fit` is light: torch, scipy and matplotlib load with the first name that needs them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from flops_fit.basics.lazy import lazy_names

__version__ = "0.1.0"

_EXPORTS = {
    "Study": "study.study",
    "ModelSpec": "study.sections",
    "DataSpec": "study.sections",
    "LossSpec": "study.sections",
    "SweepOptions": "study.sections",
    "TrainerSpec": "study.sections",
    "AdaptiveOptions": "adaptive.options",
    "Recipe": "recipe.recipe",
    "Hardware": "cost.hardware",
    "SizeMap": "sizes.size_map",
    "build_size_map": "sizes.size_map",
    "Experiment": "sweep.experiment",
    "SweepPlan": "sweep.sweep_plan",
    "plan_sweep": "sweep.sweep_plan",
    "plan_from_size_map": "sweep.sweep_plan",
    "plan_from_counts": "sweep.counts",
    "ExperimentResult": "results.results",
    "load_runs": "results.results",
    "run_experiment": "training.training_run",
    "ScalingLaw": "scaling_law",
    "compare_laws": "scaling_law",
    "rank_laws": "scaling_law",
    "fit_metric": "scaling_law",
    "fit_scaling_law": "scaling_law",
    "fit_scaling_law_together": "scaling_law",
    "Forecast": "scaling_law",
    "score_forecasts": "scaling_law",
    "find_optimal": "api",
    "find_optimal_by_value": "by_value",
    "create_model": "sizes.model_factory",
    "validate_model_contract": "sizes.contract",
    "validate_dataset": "data.study_data",
    "validate_loss_fn": "loss",
}

__all__ = ["__version__", *_EXPORTS]

if TYPE_CHECKING:
    from flops_fit.adaptive.options import AdaptiveOptions as AdaptiveOptions
    from flops_fit.api import find_optimal as find_optimal
    from flops_fit.by_value import find_optimal_by_value as find_optimal_by_value
    from flops_fit.cost.hardware import Hardware as Hardware
    from flops_fit.data.study_data import validate_dataset as validate_dataset
    from flops_fit.loss import validate_loss_fn as validate_loss_fn
    from flops_fit.recipe.recipe import Recipe as Recipe
    from flops_fit.results.results import ExperimentResult as ExperimentResult
    from flops_fit.results.results import load_runs as load_runs
    from flops_fit.scaling_law import Forecast as Forecast
    from flops_fit.scaling_law import ScalingLaw as ScalingLaw
    from flops_fit.scaling_law import compare_laws as compare_laws
    from flops_fit.scaling_law import fit_metric as fit_metric
    from flops_fit.scaling_law import fit_scaling_law as fit_scaling_law
    from flops_fit.scaling_law import fit_scaling_law_together as fit_scaling_law_together
    from flops_fit.scaling_law import rank_laws as rank_laws
    from flops_fit.scaling_law import score_forecasts as score_forecasts
    from flops_fit.sizes.contract import validate_model_contract as validate_model_contract
    from flops_fit.sizes.model_factory import create_model as create_model
    from flops_fit.sizes.size_map import SizeMap as SizeMap
    from flops_fit.sizes.size_map import build_size_map as build_size_map
    from flops_fit.study.sections import DataSpec as DataSpec
    from flops_fit.study.sections import LossSpec as LossSpec
    from flops_fit.study.sections import ModelSpec as ModelSpec
    from flops_fit.study.sections import SweepOptions as SweepOptions
    from flops_fit.study.sections import TrainerSpec as TrainerSpec
    from flops_fit.study.study import Study as Study
    from flops_fit.sweep.counts import plan_from_counts as plan_from_counts
    from flops_fit.sweep.experiment import Experiment as Experiment
    from flops_fit.sweep.sweep_plan import SweepPlan as SweepPlan
    from flops_fit.sweep.sweep_plan import plan_from_size_map as plan_from_size_map
    from flops_fit.sweep.sweep_plan import plan_sweep as plan_sweep
    from flops_fit.training.training_run import run_experiment as run_experiment

__getattr__, __dir__ = lazy_names(__name__, _EXPORTS)
