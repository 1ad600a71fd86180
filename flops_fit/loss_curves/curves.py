"""Loss on the way of a training, as its log has it."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from flops_fit.results.results import ExperimentResult, load_results
from flops_fit.sweep.experiment import Experiment

if TYPE_CHECKING:
    import pandas as pd

LOG_FILE = "log.jsonl"
RUNNING = "running"  # or stopped on its way, as no result says how it ended


@dataclass(frozen=True, kw_only=True, eq=False)
class LossCurve:
    """One training: the loss of single batches at about a hundred of its steps.

    Attributes:
        experiment_id, compute_budget, num_params: of the experiment; N and FLOPs in the plan's convention.
        tokens, loss: trained so far, and training loss of that batch, shape (lines,); finite.
        flops_per_token: of training, forward and backward.
        status: of the result, or "running" where there is none yet.
        held_out: the loss that the law is fitted to; None unless completed.
    """

    experiment_id: str
    compute_budget: float
    num_params: int
    tokens: np.ndarray
    loss: np.ndarray
    flops_per_token: float
    status: str = RUNNING
    held_out: float | None = None

    @property
    def flops(self) -> np.ndarray:
        """Trained so far, shape (lines,)."""
        return self.tokens * self.flops_per_token


def study_curves(
    experiments: Iterable[Experiment], results: Mapping[str, ExperimentResult], runs: Path
) -> list[LossCurve]:
    """The curve of every experiment that has a log of two lines or more below `runs`, finished or not; a training by
    a command, or one that was imported, has none."""
    curves = (
        curve_of(item, results.get(item.experiment_id), runs / item.experiment_id / LOG_FILE) for item in experiments
    )
    return [curve for curve in curves if curve is not None]


def curve_of(experiment: Experiment, result: ExperimentResult | None, log: Path) -> LossCurve | None:
    """The curve of one experiment; None where its log has fewer than two lines, or it was imported."""
    if result is not None and result.source != "trained":
        return None
    tokens, loss = read_log(log)
    return _curve(experiment, result, tokens, loss) if len(tokens) > 1 else None


def load_curves(directory: str | os.PathLike[str]) -> list[LossCurve]:
    """The curves of all finished trainings in `directory` or its folder `runs` (`*/result.json`), such as
    "flops_fit_data/find_optimal"; raises `FileError` for a torn result."""
    place = Path(directory)
    place = place / "runs" if (place / "runs").is_dir() else place
    found = []
    for result in load_results(place):
        tokens, loss = read_log(place / result.experiment_id / LOG_FILE)
        if len(tokens) > 1:
            found.append(_curve(result, result, tokens, loss))
    return found


def read_log(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Tokens, ascending, and losses of a log, shape (lines,) each: lines that are cut off, not ours or not finite are
    left out."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError):  # none, or not text
        return np.empty(0), np.empty(0)
    rows = [row for row in map(_row, lines) if row is not None]
    tokens, loss = np.array(sorted(rows), dtype=float).reshape(-1, 2).T
    return tokens, loss


def curves_frame(curves: Iterable[LossCurve]) -> pd.DataFrame:
    """One row for each logged step: experiment_id, num_params, num_tokens, flops, loss; `envelope` takes it."""
    import pandas as pd

    parts = [
        pd.DataFrame(
            {
                "experiment_id": curve.experiment_id,
                "num_params": curve.num_params,
                "num_tokens": curve.tokens,
                "flops": curve.flops,
                "loss": curve.loss,
            }
        )
        for curve in curves
    ]
    columns = ["experiment_id", "num_params", "num_tokens", "flops", "loss"]
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=columns)


def _row(line: str) -> tuple[float, float] | None:
    try:
        content = json.loads(line)
        tokens, loss = float(content["tokens"]), float(content["loss"])
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    return (tokens, loss) if tokens > 0 and np.isfinite([tokens, loss]).all() else None


def _curve(
    of: Experiment | ExperimentResult, result: ExperimentResult | None, tokens: np.ndarray, loss: np.ndarray
) -> LossCurve:
    return LossCurve(
        experiment_id=of.experiment_id,
        compute_budget=of.compute_budget,
        num_params=of.num_params,
        tokens=tokens,
        loss=loss,
        flops_per_token=of.flops_per_token,
        status=result.status if result else RUNNING,
        held_out=result.loss if result else None,
    )
