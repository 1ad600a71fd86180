"""A study from the arguments of one call: every option is a field of one of its sections."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from flops_fit.adaptive.options import AdaptiveOptions
from flops_fit.basics.arguments import did_you_mean
from flops_fit.cost.hardware import Hardware
from flops_fit.errors import StudyError
from flops_fit.recipe.recipe import Recipe
from flops_fit.recipe_law.options import TuningOptions
from flops_fit.study.sections import DataSpec, LossSpec, ModelSpec, SweepOptions
from flops_fit.study.study import Study


def study_from_options(
    model_cls: Any,
    size_param: Any,
    model_kwargs: Mapping[str, Any] | None,
    dataset: Any,
    eval_dataset: Any,
    loss_fn: Any,
    compute_budgets: Any,
    options: Mapping[str, Any],
) -> Study:
    """The study of these arguments; `options` are fields of any section by their name, `tuning` that section, and
    `data_kwargs` what [data] calls `kwargs`.

    Raises `TypeError` for an option that no section has, and errors of the sections for their values.
    """
    given: dict[str, dict[str, Any]] = {"model": {}, "data": {}, "sweep": {}, "training": {}, "hardware": {}}
    given["adaptive"] = {}
    tuning = options.get("tuning")
    options = {name: value for name, value in options.items() if name != "tuning"}
    if "data_kwargs" in options:
        given["data"]["kwargs"] = options.pop("data_kwargs")
    for name, value in options.items():
        given[_owner_of(name)][name] = value
    named = {"kwargs": "data_kwargs"}
    of_data = [
        *(["eval_dataset"] if eval_dataset is not None else []),
        *(named.get(name, name) for name in given["data"]),
    ]
    if dataset is None and of_data:
        raise StudyError(f"{' and '.join(of_data)} given without dataset; give the training data too, or neither")
    if given["adaptive"] and "target_budget" not in given["adaptive"]:
        raise StudyError(
            f"{', '.join(given['adaptive'])} given without target_budget; give the FLOPs that are asked about"
        )
    if given["adaptive"] and "total_compute" not in given["adaptive"]:  # max_cost and max_hours are those of `Hardware`
        raise StudyError("target_budget given without total_compute; give the FLOPs of all experiments together")
    adaptive = AdaptiveOptions(**given["adaptive"]) if given["adaptive"] else None
    if compute_budgets is None and adaptive is not None:
        compute_budgets = adaptive.budgets()
    return Study(
        name="find_optimal",
        model=ModelSpec(factory=model_cls, size_param=size_param, kwargs=model_kwargs or {}, **given["model"]),
        data=DataSpec(train=dataset, eval=eval_dataset, **given["data"]) if dataset is not None else None,
        loss=LossSpec(fn=loss_fn) if loss_fn is not None else None,
        sweep=SweepOptions(compute_budgets=compute_budgets, **given["sweep"]),
        training=Recipe(**given["training"]),
        hardware=Hardware(**given["hardware"]),
        adaptive=adaptive,
        tuning=TuningOptions(**tuning) if isinstance(tuning, Mapping) else tuning,
    )


OPTION_OWNERS = {
    "model": ModelSpec,
    "data": DataSpec,
    "sweep": SweepOptions,
    "training": Recipe,
    "adaptive": AdaptiveOptions,
    "hardware": Hardware,
}
NOT_OPTIONS = {
    "factory", "size_param", "train", "eval", "kwargs", "compute_budgets", "target_budgets", "centre_on_law", "version",
    "name",
}  # fmt: skip


def _owner_of(option: str) -> str:
    owners = {
        item.name: section
        for section, kind in OPTION_OWNERS.items()
        for item in fields(kind)
        if item.name not in NOT_OPTIONS
    }
    if option not in owners:
        raise TypeError(f"find_optimal() got an unknown option {option!r}; {did_you_mean(option, owners)}")
    return owners[option]
