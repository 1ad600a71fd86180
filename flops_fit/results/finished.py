"""The final result of an experiment that is there already, whoever trained it."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from flops_fit.basics.files import set_aside
from flops_fit.errors import FileError, FlopsFitWarning
from flops_fit.results.results import RESULT_FILE, ExperimentResult

if TYPE_CHECKING:
    from flops_fit.sweep.experiment import Experiment

LOCK_FILE = ".lock"  # held by the process that trains the experiment of this folder


def load_finished(directory: Path) -> ExperimentResult | None:
    """The final result in `directory`; an unreadable one is set aside with a warning."""
    path = directory / RESULT_FILE
    if not path.exists():
        return None
    try:
        result = ExperimentResult.load(path)
    except FileError as error:
        kept = set_aside(path)
        warnings.warn(f"{error}; kept as {kept.name}, trained again", FlopsFitWarning, stacklevel=2)
        return None
    if result.experiment_id != directory.name:
        kept = set_aside(path)
        message = f"{path} is the result of {result.experiment_id}; kept as {kept.name}, trained again"
        warnings.warn(message, FlopsFitWarning, stacklevel=2)
        return None
    return result if result.is_final else None


def already_finished(experiments: Iterable[Experiment], output_dir: Path) -> dict[str, ExperimentResult]:
    """Experiment id → result, of those of `experiments` that have one under `output_dir`."""
    found = {item.experiment_id: load_finished(output_dir / item.experiment_id) for item in experiments}
    return {name: result for name, result in found.items() if result is not None}
