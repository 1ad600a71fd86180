"""How a forecast came out: each target against the runs that were trained at its compute since."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy.interpolate import CubicSpline
from scipy.special import ndtri

from flops_fit.basics.formatting import format_flops
from flops_fit.scaling_law.approaches.isoflop import IsoflopMinimum, isoflop_minima
from flops_fit.scaling_law.forecasts.sealed import Answer, SealedForecast, Target
from flops_fit.scaling_law.table.runs import Runs

SAME_BUDGET = 0.05  # of ln C
WAITING = "no runs yet"


@dataclass(frozen=True, kw_only=True)
class Score:
    """One quantity: what was forecast (at the very N, D or compute that was trained) and what was found, with an
    interval of its own at the forecast's level where it has one."""

    forecast: Answer
    found: float
    own: tuple[float, float] | None = None

    @property
    def error(self) -> float:
        """`ln(found / forecast)`."""
        return math.log(self.found / self.forecast.value)

    @property
    def inside(self) -> bool:
        """Whether what was found lies in the interval."""
        return self.forecast.holds(self.found)

    @property
    def within_both(self) -> bool:
        """The same with the error of what was found allowed for too. They are independent, so their
        half widths in logarithms add as squares do."""
        if self.own is None or self.inside:
            return self.inside
        end, own = (self.forecast.high, self.own[0]) if self.error > 0 else (self.forecast.low, self.own[1])
        return abs(self.error) <= math.hypot(math.log(end / self.forecast.value), math.log(own / self.found))


@dataclass(frozen=True, kw_only=True)
class TargetScore:
    """How one target came out.

    Attributes:
        made, level, law_version: of its forecast.
        runs: trained at its compute.
        N_opt, L_opt: against the minimum of the budget's own curve (N_opt with its interval); None where there is none
            inside its sizes.
        new_run: against the run whose N is nearest to the forecast's N_opt; `size` is its N.
        regret: relative loss above that minimum which training the forecast's N would have cost.
        reason: why something is not scored.
    """

    target: Target
    made: str
    level: float
    law_version: str
    runs: int = 0
    N_opt: Score | None = None
    L_opt: Score | None = None
    new_run: Score | None = None
    size: float | None = None
    regret: float | None = None
    reason: str = ""

    @property
    def scored(self) -> bool:
        """Whether anything could be compared."""
        return self.N_opt is not None or self.new_run is not None


def score_targets(forecast: SealedForecast, runs: Runs, hashes: np.ndarray) -> tuple[TargetScore, ...]:
    """Every target of a forecast against the runs at its compute; `hashes` are the runs' own (`hashes_of`)."""
    foreign = _foreign(forecast, hashes[runs.flops <= forecast.largest_compute])
    return tuple(_score(forecast, target, runs, foreign) for target in forecast.targets)


def _score(forecast: SealedForecast, target: Target, runs: Runs, foreign: str) -> TargetScore:
    known: dict[str, Any] = {
        "target": target, "made": forecast.made, "level": forecast.level, "law_version": forecast.law_version
    }  # fmt: skip
    members = _at(target.compute, runs)
    if foreign or members is None:
        return TargetScore(**known, reason=foreign or WAITING)
    found = next(iter(isoflop_minima(replace(members, budget=np.full(len(members), target.compute)))), None)
    reason = "fewer than 3 sizes at this compute" if found is None else found.reason
    known |= {"runs": len(members)} | _score_of_run(target, members)
    if found is None or not found.interior:
        return TargetScore(**known, reason=reason)
    return TargetScore(**known, **_score_of_minimum(target, members, found, forecast.level))


def _at(compute: float, runs: Runs) -> Runs | None:
    """The runs of the budget at `compute`, by its name or by its runs' FLOPs; single ones where it has no budget."""
    distance: dict[float, float] = {}
    for budget in runs.budgets.tolist():
        spent = float(np.median(runs.flops[runs.budget == budget]))
        distance[budget] = min(abs(math.log(value / compute)) for value in (budget, spent))
    nearest = min(distance, key=lambda budget: distance[budget], default=None)
    if nearest is not None and distance[nearest] <= SAME_BUDGET:
        return runs.subset(runs.budget == nearest)
    alone = np.isnan(runs.budget) & (np.abs(np.log(runs.flops / compute)) <= SAME_BUDGET)
    return runs.subset(alone) if alone.any() else None


def _score_of_minimum(target: Target, members: Runs, found: IsoflopMinimum, level: float) -> dict[str, Any]:
    """N_opt, loss and regret; the forecast is taken along its own power laws to the FLOPs that were spent."""
    more = float(np.median(members.flops)) / target.compute
    size = target.N_opt.times(more**target.exponent)
    loss = target.L_opt.times(more**target.at_optimum.slope)
    return {
        "N_opt": Score(forecast=size, found=found.N, own=_own(found, level)),
        "L_opt": Score(forecast=loss, found=found.loss),
        "regret": _regret(size.value, members, found),
    }


def _own(found: IsoflopMinimum, level: float) -> tuple[float, float] | None:
    """The interval of the minimum's N, which is kept at 90 %, at `level`."""
    if found.interval is None:
        return None
    share = float(ndtri((1 + level) / 2) / ndtri(0.95))
    low, high = (found.N * (end / found.N) ** share for end in found.interval)
    return low, high


def _regret(N: float, members: Runs, found: IsoflopMinimum) -> float | None:
    if not members.num_params.min() <= N <= members.num_params.max():
        return None
    return float(np.polyval(found.coefficients, math.log(N) - found.centre)) / found.loss - 1


def _score_of_run(target: Target, members: Runs) -> dict[str, Any]:
    """The run nearest to the forecast's N_opt, of several seeds the first; nothing beyond the forecast's curve."""
    nearest = int(np.argmin(np.abs(np.log(members.num_params / target.N_opt.value))))
    N, D = float(members.num_params[nearest]), float(members.num_tokens[nearest])
    forecast = new_run_at(target, N, D)
    if forecast is None:
        return {}
    return {"new_run": Score(forecast=forecast, found=float(members.loss[nearest])), "size": N}


def new_run_at(target: Target, N: float, D: float) -> Answer | None:
    """Where a run of N parameters and D tokens was to fall, interpolated in ln N; None beyond the curve's sizes."""
    curve = target.curve
    if not curve[0].N * (1 - 1e-9) <= N <= curve[-1].N * (1 + 1e-9):
        return None
    columns = [
        (math.log(p.new_run.value), math.log(p.new_run.low), math.log(p.new_run.high), math.log(p.D), p.slope)
        for p in curve
    ]
    spline = CubicSpline(np.log([point.N for point in curve]), columns)
    value, low, high, log_tokens, slope = spline(math.log(N)).tolist()
    moved = slope * (math.log(D) - log_tokens)
    return Answer(value=math.exp(value + moved), low=math.exp(low + moved), high=math.exp(high + moved))


def _foreign(forecast: SealedForecast, seen: np.ndarray) -> str:
    """Why runs are of something else than the forecast, by the hashes of those that it may have seen; empty where they
    are not, or where nothing tells."""
    if not len(seen) or not forecast.witnesses or set(forecast.witnesses) & set(seen.tolist()):
        return ""
    return f"made from none of the {len(seen)} runs that are here up to {format_flops(forecast.largest_compute)} FLOPs"
