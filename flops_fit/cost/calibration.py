"""How long trainings take on a machine, learnt from those it has finished."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

MOST_LEFT_OUT = 100  # runs that are predicted from the others, to say how well that goes
_FEWEST_FOR_STEPS = 4
_PRIOR_WEIGHT = 0.3  # of the prior's relative error against that of one run


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """Seconds = `per_step` * steps + `per_token` * tokens + `per_flop` * FLOPs, with steps = `scale` * tokens^`power`.

    A step costs something however small the model; that, and not FLOP/s alone, decides how long small trainings take.

    Attributes:
        num_runs: finished trainings it was learnt from.
        error: median relative error of predicting each of them, of more than a hundred as many spread evenly over
            them, from the others; None below four runs.
    """

    per_step: float
    per_token: float
    per_flop: float
    scale: float
    power: float
    num_runs: int
    error: float | None = None

    def steps(self, num_tokens: float) -> float:
        """Of a training of so many tokens, for who does not know them."""
        return self.scale * num_tokens**self.power

    def total(self, steps: float, tokens: float, flops: float) -> float:
        """Predicted seconds on one worker of so many `steps` with so many `tokens` and `flops` together."""
        return self.per_step * steps + self.per_token * tokens + self.per_flop * flops


def calibrate(runs: Sequence[Any], peak_flops: float) -> Calibration:
    """Learn from completed `ExperimentResult`s with a measured time, at least one, on a device of that peak FLOP/s.

    Of one that went on from the trunk of another (`flops_fit.recipe.trunk`), what it trained itself in its own seconds.
    """
    scale, power = _steps_rule(runs)
    own = [(max(1.0, run.own_steps), run.num_tokens * run.own_share, run.own_flops) for run in runs]
    work, seconds = np.array(own, dtype=float), np.array([run.own_seconds for run in runs])

    def learnt(chosen: np.ndarray, error: float | None = None) -> Calibration:
        per_step, per_token, per_flop = _costs(work[chosen], seconds[chosen], peak_flops)
        costs = {"per_step": per_step, "per_token": per_token, "per_flop": per_flop}
        return Calibration(**costs, scale=scale, power=power, num_runs=len(runs), error=error)

    every = np.arange(len(runs))
    if len(runs) < _FEWEST_FOR_STEPS:
        return learnt(every)
    chosen = left_out(len(runs))
    predicted = [learnt(np.delete(every, index)).total(*work[index]) for index in chosen]
    return learnt(every, float(np.median(np.abs(np.array(predicted) / seconds[chosen] - 1))))


def left_out(count: int) -> list[int]:
    """Which of `count` runs are predicted from the others: each, or `MOST_LEFT_OUT` of them from first to last."""
    return np.unique(np.linspace(0, count - 1, min(count, MOST_LEFT_OUT)).round().astype(int)).tolist()


def _costs(work: np.ndarray, seconds: np.ndarray, peak_flops: float) -> tuple[float, float, float]:
    """Seconds of a step, of a token and of a FLOP, none negative, from `work` (runs, 3), which took `seconds` (runs,):
    least squares of relative errors; with few runs time is proportional to FLOPs alone.

    Short trainings of small models say nothing about those of a FLOP, which decide the long ones: there a weak prior
    holds, that what is not paid per step or token runs at the peak.
    """
    from scipy.optimize import nnls  # a seventh of what a plan takes, which needs it only once runs are finished

    relative, ones = work / seconds[:, None], np.ones(len(work))
    if len(work) < _FEWEST_FOR_STEPS:
        relative[:, :2] = 0.0
    else:
        relative = np.vstack([relative, [0.0, 0.0, _PRIOR_WEIGHT * peak_flops]])
        ones = np.append(ones, _PRIOR_WEIGHT)
    units = np.where(relative.any(axis=0), relative.max(axis=0), 1.0)
    per_step, per_token, per_flop = (nnls(relative / units, ones)[0] / units).tolist()
    return per_step, per_token, per_flop


def _steps_rule(runs: Sequence[Any]) -> tuple[float, float]:
    """steps = scale * tokens^power: exact for a batch that is constant or a power of the tokens."""
    tokens = np.log([run.num_tokens for run in runs])
    steps = np.log([max(1, run.steps) for run in runs])
    if np.ptp(tokens) < 0.1:
        return math.exp(float(np.mean(steps - tokens))), 1.0
    power, intercept = np.polyfit(tokens, steps, 1)
    return math.exp(float(intercept)), float(power)
