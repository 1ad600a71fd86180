"""How long trainings take on a machine, learnt from those it has finished."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

import numpy as np

from flops_fit.cost.not_negative import fit_not_negative

_FEWEST_FOR_STEPS = 4
_PRIOR_WEIGHT = 0.3  # of the prior's relative error against that of one run


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """Seconds = `per_step` * steps + `per_token` * tokens + `per_flop` * FLOPs, with steps = `scale` * tokens^`power`.

    A step costs something however small the model; that, and not FLOP/s alone, decides how long small trainings take.

    Attributes:
        num_runs: finished trainings it was learnt from.
        error: median relative error of predicting each of them from the others; None below four runs.
    """

    per_step: float
    per_token: float
    per_flop: float
    scale: float
    power: float
    num_runs: int
    error: float | None = None

    def seconds(self, num_tokens: float, flops: float) -> float:
        """Predicted training time on one worker."""
        return self.total(self.scale * num_tokens**self.power, num_tokens, flops)

    def total(self, steps: float, tokens: float, flops: float) -> float:
        """Of so many `steps` with so many `tokens` and `flops` together."""
        return self.per_step * steps + self.per_token * tokens + self.per_flop * flops


def calibrate(runs: Sequence[Any], peak_flops: float) -> Calibration:
    """Learn from completed `ExperimentResult`s with a measured time, at least one, on a device of that peak FLOP/s."""
    fitted = _fit(runs, peak_flops)
    if len(runs) < _FEWEST_FOR_STEPS:
        return fitted
    errors = []
    for index, run in enumerate(runs):
        others = _fit([*runs[:index], *runs[index + 1 :]], peak_flops)
        errors.append(abs(others.seconds(run.num_tokens, run.flops) / run.seconds - 1))
    return Calibration(**vars(fitted) | {"error": median(errors)})


def _fit(runs: Sequence[Any], peak_flops: float) -> Calibration:
    """Non-negative least squares on relative errors; with few runs time is proportional to FLOPs alone.

    Short trainings of small models say nothing about `per_flop`, which decides the long ones: there a weak prior holds,
    that what is not paid per step or token runs at the peak.
    """
    scale, power = _steps_rule(runs)
    seconds = np.array([run.seconds for run in runs])
    columns = np.array([[scale * run.num_tokens**power, run.num_tokens, run.flops] for run in runs], dtype=float)
    if len(runs) < _FEWEST_FOR_STEPS:
        columns[:, :2] = 0.0
    relative, ones = columns / seconds[:, None], np.ones(len(runs))
    if len(runs) >= _FEWEST_FOR_STEPS:
        relative = np.vstack([relative, [0.0, 0.0, _PRIOR_WEIGHT * peak_flops]])
        ones = np.append(ones, _PRIOR_WEIGHT)
    units = np.where(relative.any(axis=0), relative.max(axis=0), 1.0)
    solution = fit_not_negative(relative / units, ones)
    per_step, per_token, per_flop = (float(value) for value in solution / units)
    return Calibration(
        per_step=per_step, per_token=per_token, per_flop=per_flop, scale=scale, power=power, num_runs=len(runs)
    )


def _steps_rule(runs: Sequence[Any]) -> tuple[float, float]:
    """steps = scale * tokens^power: exact for a batch that is constant or a power of the tokens."""
    tokens = np.log([run.num_tokens for run in runs])
    steps = np.log([max(1, run.steps) for run in runs])
    if np.ptp(tokens) < 0.1:
        return math.exp(float(np.mean(steps - tokens))), 1.0
    power, intercept = np.polyfit(tokens, steps, 1)
    return math.exp(float(intercept)), float(power)
