"""The launchpad of `sweep_plan`: the study's grid, each option open to change for one plan."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from dagster import Array, Bool, Field, Float, Int, Noneable

from flops_fit.adaptive.options import AdaptiveOptions
from flops_fit.study.sections import SweepOptions
from flops_fit.study.study import Study

_DESCRIPTIONS = {
    "compute_budgets": "Training FLOPs of each IsoFLOP curve: numbers, or text such as 1e18. Adding one trains only "
    "its experiments; removing one and adding it again trains nothing.",
    "num_sizes_per_budget": "At most this many model sizes for each budget.",
    "tokens_per_param": "The grid is centred on the size that sees this many tokens per parameter.",
    "span": "Sizes run from centre / span to centre * span in parameters; null is the planner's default.",
    "min_tokens_per_param": "Grid points with fewer tokens per parameter are dropped.",
    "max_tokens_per_param": "Grid points with more tokens per parameter are dropped.",
    "seeds": "Every size is trained once with each seed.",
    "max_epochs": "How often the data may be seen.",
    "centre_on_law": "Centre budgets that are new on the study's own law, where there is a trustworthy one.",
}
_KINDS: Mapping[str, Any] = {
    "num_sizes_per_budget": Int,
    "span": Noneable(Float),
    "seeds": Array(Int),
    "centre_on_law": Bool,
}


_ADAPTIVE = {
    "target_budget": "FLOPs of the training that is asked about: a number, or text such as 1e20.",
    "N_opt_within": "Stop when N_opt there is known within this factor, at 90 %.",
    "loss_within": "Stop when the loss there is known within this share of it, at 90 %.",
    "total_compute": "FLOPs of all experiments together; null where money or hours limit them.",
    "round_size": "Experiments planned at once; null is one for each worker, at least three.",
}


def plan_config_schema(study: Study) -> dict[str, Field]:
    """The fields of the launchpad with the study's own values as defaults."""
    return _adaptive_schema(study.adaptive) if study.adaptive else _grid_schema(study.sweep)


def _adaptive_schema(adaptive: AdaptiveOptions) -> dict[str, Field]:
    from dagster import Any as Anything

    kinds: Mapping[str, Any] = {"N_opt_within": Float, "loss_within": Float, "round_size": Noneable(Int)}
    return {
        name: Field(
            kinds.get(name, Anything), default_value=getattr(adaptive, name), is_required=False, description=description
        )
        for name, description in _ADAPTIVE.items()
    }


def _grid_schema(sweep: SweepOptions) -> dict[str, Field]:
    from dagster import Any as Anything

    schema = {}
    for name, description in _DESCRIPTIONS.items():
        default = getattr(sweep, name)
        kind = Array(Anything) if name == "compute_budgets" else _KINDS.get(name, Float)
        value = list(default) if isinstance(default, tuple) else default
        schema[name] = Field(kind, default_value=value, is_required=False, description=description)
    return schema


def overrides_in(config: Mapping[str, Any], study: Study) -> dict[str, Any]:
    """The options of `config` that differ from the study's; raises `FlopsFitError` for values that are not valid."""
    if study.adaptive is not None:
        asked = dataclasses.replace(study.adaptive, **config)
        return {name: getattr(asked, name) for name in config if getattr(asked, name) != getattr(study.adaptive, name)}
    given: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in config.items()}
    wanted = SweepOptions(**given)
    return {name: getattr(wanted, name) for name in given if getattr(wanted, name) != getattr(study.sweep, name)}
