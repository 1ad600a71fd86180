"""The final result of an experiment that is there already, whoever trained it."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from flops_fit.basics.files import set_aside
from flops_fit.errors import FileError, FlopsFitWarning
from flops_fit.results.results import RESULT_FILE, ExperimentResult
from flops_fit.sizes.dial import ROW

if TYPE_CHECKING:
    from flops_fit.sweep.experiment import Experiment

LOCK_FILE = ".lock"  # held by the process that trains the experiment of this folder
_MEANT = ("compute_budget", "size_param", "size_param_value", "seed")
_MEANT_OF_ROWS = ("compute_budget", "size_param", "seed")  # whose place in their table may be another by now


def load_finished(directory: Path, experiment: Experiment | None = None) -> ExperimentResult | None:
    """The final result in `directory`; one that cannot be read, or is of something else, is set aside with a warning.

    With `experiment` it must be a result of that, trained from what it was planned from.
    """
    path = directory / RESULT_FILE
    if not path.exists():
        return None
    try:
        result = ExperimentResult.load(path)
        problem = mismatch(result, experiment) if experiment and result.is_final else ""
        if result.experiment_id != directory.name:
            problem = f"is the result of {result.experiment_id}"
        problem = f"{path} {problem}" if problem else ""
    except FileError as error:
        problem = str(error)
    if problem:
        kept = set_aside(path)
        warnings.warn(f"{problem}; kept as {kept.name}, trained again", FlopsFitWarning, stacklevel=2)
        return None
    return result if result.is_final else None


def mismatch(result: ExperimentResult, experiment: Experiment) -> str:
    """Why `result` is none of `experiment`; "" where it is one."""
    for name in _MEANT if experiment.size_param != ROW else _MEANT_OF_ROWS:
        found, planned = getattr(result, name), getattr(experiment, name)
        if found != planned:
            return f"has {name} = {found!r} where {planned!r} is planned"
    if experiment.outcome_fingerprint not in ("", result.outcome_fingerprint):
        return "was trained from another model, data, loss or recipe than the plan was made of"
    return ""


def as_planned(result: ExperimentResult, experiment: Experiment) -> ExperimentResult:
    """`result` as a law may use it: N and FLOPs as the plan counts them; one of something else as failed, with why."""
    if problem := mismatch(result, experiment):
        return replace(result, status="failed", loss=None, reason=f"left out: it {problem}")
    counted = replace(
        result,
        num_params=experiment.num_params,
        flops_per_token=experiment.flops_per_token,
        size_param_value=experiment.size_param_value,
    )
    if result.flops_per_token != experiment.flops_per_token:
        return replace(counted, flops=experiment.flops_per_token * result.num_tokens)
    return counted


def already_finished(experiments: Iterable[Experiment], output_dir: Path) -> dict[str, ExperimentResult]:
    """Experiment id → result, of those of `experiments` that have one under `output_dir`."""
    found = {item.experiment_id: load_finished(output_dir / item.experiment_id, item) for item in experiments}
    return {name: result for name, result in found.items() if result is not None}
