"""Size → parameters and FLOPs per token of a model class, without budgets and without weights."""

from flops_fit.sizes.model_factory import create_model, validate_model_contract
from flops_fit.sizes.size_map import PARAM_COUNTS, SizeEntry, SizeMap, SkippedSize, build_size_map

__all__ = [
    "PARAM_COUNTS",
    "SizeEntry",
    "SizeMap",
    "SkippedSize",
    "build_size_map",
    "create_model",
    "validate_model_contract",
]
