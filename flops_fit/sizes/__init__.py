"""Size → parameters and FLOPs per token of a model class, without budgets and without weights."""

from flops_fit.sizes.contract import validate_model_contract
from flops_fit.sizes.entry import SizeEntry, SkippedSize
from flops_fit.sizes.model_factory import create_model, num_params_of
from flops_fit.sizes.options import PARAM_COUNTS, SizeOptions
from flops_fit.sizes.size_map import SizeMap, build_size_map

__all__ = [
    "PARAM_COUNTS",
    "SizeEntry",
    "SizeMap",
    "SizeOptions",
    "SkippedSize",
    "build_size_map",
    "create_model",
    "num_params_of",
    "validate_model_contract",
]
