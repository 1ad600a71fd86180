"""`find_optimal_by_value`: `find_optimal` for each value of a second axis, and how their laws compare."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import NoneType
from typing import TYPE_CHECKING, Any

from flops_fit.api import find_optimal
from flops_fit.basics.arguments import ARGUMENTS, FOLDER, LEFT_OUT, need
from flops_fit.errors import StudyError
from flops_fit.results.results import load_runs
from flops_fit.sizes.contract import check_model
from flops_fit.study.options import study_from_options
from flops_fit.study.vary import Vary, refuse_unknown_argument_of

if TYPE_CHECKING:
    from flops_fit.scaling_law import Ranking, ScalingLaw
    from flops_fit.sweep.sweep_plan import SweepPlan


@dataclass(frozen=True, kw_only=True, eq=False)
class LawsByValue:
    """The law of each value by its label, and the folder of its study."""

    vary: Vary
    laws: Mapping[str, ScalingLaw]
    folders: Mapping[str, Path] = field(repr=False)

    def ranking(self, at: Sequence[float] | float | None = None) -> Ranking:
        """How the laws compare at C FLOPs, in time too where all were trained on one device: see `rank_laws`."""
        from flops_fit.scaling_law import rank_laws

        timed = {label: load_runs(folder / "runs.csv") for label, folder in self.folders.items()}
        return rank_laws(self.laws, at, axis=self.vary.name, values=self.vary.values, timed=timed, same_data=True)


def find_optimal_by_value(
    key: str,
    values: Sequence[Any],
    model_cls: Any,
    model_size_param: str | None,
    model_kwargs: Mapping[str, Any] | None = None,
    dataset: Any = None,
    loss_fn: Any = None,
    compute_budgets: Sequence[float | str] | None = None,
    *,
    labels: Sequence[str] = (),
    train: bool = True,
    output_dir: str | os.PathLike[str] = "flops_fit_data/find_optimal",
    **options: Any,
) -> LawsByValue | dict[str, SweepPlan]:
    """`find_optimal` for each of `values` of `key`, such as "model.kwargs.depth" or "training.batch_tokens".

    Args:
        key: as in [sweep.vary] of a study file; "model.factory" stands for `model_cls`, "data.train" for `dataset`.
        values: two or more.
        labels: what the values are called; by default as they are written. Objects without a name need them.
        output_dir: where each value's study has a folder of its own, called after the value.

    All other arguments are as of `find_optimal`, and those of all values are checked before the first is trained.
    Returns its plans by label without a dataset or with `train=False`, else `LawsByValue`, whose `ranking()` says which
    value is the best. Raises as `find_optimal`, and `StudyError` for a key that is not there or must not vary.
    """
    need("output_dir", output_dir, FOLDER)
    need("model_kwargs", model_kwargs, ARGUMENTS | LEFT_OUT, StudyError)
    vary = Vary(key=key, values=values, labels=labels)
    given = {
        "model_cls": model_cls,
        "model_size_param": model_size_param,
        "model_kwargs": dict(model_kwargs or {}),
        "dataset": dataset,
        "loss_fn": loss_fn,
        "compute_budgets": compute_budgets,
        "train": train,
        **options,
    }
    _refuse(vary, given)
    folders = {label: Path(output_dir) / part for label, part in zip(vary.labels, vary.parts, strict=True)}
    arguments = {label: _with_value(given, key, value) for label, value in zip(vary.labels, vary.values, strict=True)}
    for each in arguments.values():
        _refuse_bad(each)  # before the first is trained
    found: dict[str, Any] = {
        label: find_optimal(**each, output_dir=folders[label]) for label, each in arguments.items()
    }
    if not train or (dataset is None and key != "data.train"):
        return found
    return LawsByValue(vary=vary, laws=found, folders=folders)


def _refuse(vary: Vary, given: Mapping[str, Any]) -> None:
    section, name, *argument = vary.key.split(".")
    if section == "trainer" or (section == "data" and name != "train") or (section == "model" and len(argument) > 1):
        raise StudyError(f"[sweep.vary] {vary.key} is for a study file, such as study.toml; write one")
    if section == "data" and given.get("eval_dataset") is None:
        raise StudyError(
            f"{vary.key} without eval_dataset, which would be split off from each value's; give one, the same for all"
        )
    there = None if vary.key == "model.factory" else given.get(_ARGUMENTS.get(vary.key, name))
    if argument:
        place = given["model_kwargs"] if name == "kwargs" else there
        if not isinstance(place, Mapping | NoneType):
            raise StudyError(f"{vary.key} is in {name} = {place!r}, which has no keys; vary another, or leave it out")
        there = (place or {}).get(argument[0])
    if there is not None:
        raise StudyError(
            f"{argument[0] if argument else _ARGUMENTS.get(vary.key, name)} = {there!r} is given, and {vary.key} "
            "varies; take it out"
        )
    if name == "kwargs":
        refuse_unknown_argument_of(given.get("config") or given["model_cls"], vary.key, given["model_size_param"])


def _refuse_bad(arguments: Mapping[str, Any]) -> None:
    """Raise what `find_optimal` raises for these options and this model."""
    options = {name: value for name, value in arguments.items() if name not in _NOT_OF_STUDY}
    model = options.pop("model_cls"), options.pop("model_size_param"), options.pop("model_kwargs")
    data = options.pop("dataset"), options.pop("eval_dataset", None), options.pop("loss_fn")
    check_model(study_from_options(*model, *data, options.pop("compute_budgets"), options).model.request())


_NOT_OF_STUDY = ("train", "resume", "train_anyway", "progress", "on_log")
_ARGUMENTS = {"model.factory": "model_cls", "data.train": "dataset"}


def _with_value(given: Mapping[str, Any], key: str, value: Any) -> dict[str, Any]:
    _, name, *argument = key.split(".")
    if argument and name == "kwargs":
        return {**given, "model_kwargs": {**given["model_kwargs"], argument[0]: value}}
    if argument:
        return {**given, name: {**(given.get(name) or {}), argument[0]: value}}
    return {**given, _ARGUMENTS.get(key, name): value}
