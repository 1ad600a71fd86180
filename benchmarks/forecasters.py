"""What is compared on the hold-outs: each takes the runs that are left and forecasts what was left out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from flops_fit import ScalingLaw, fit_scaling_law
from flops_fit.scaling_law.approaches.isoflop import fit_power_law, isoflop_minima
from flops_fit.scaling_law.misfit import misfit_of
from flops_fit.scaling_law.table.runs import read_runs

Numbers = Callable[..., np.ndarray]
Interval = Callable[..., tuple[float, float]]


@dataclass(frozen=True, kw_only=True, eq=False)
class Forecast:
    """`N_opt(C)` and `L_opt(C)`; `loss(N, D)` where the approach has one; `interval` as a law's; `verdict(C)` of a law
    for "loss" and "N_opt"; `with_prior(p)` the interval of a law whose misfit's prior is p times as large."""

    N_opt: Numbers
    L_opt: Numbers
    loss: Numbers | None = None
    interval: Interval | None = None
    verdict: Callable[[str, float], str] | None = None
    with_prior: Callable[[float], Interval] | None = None


def default(train: pd.DataFrame) -> Forecast:
    """The default call."""
    return _of_law(fit_scaling_law(train))


def approach_3(train: pd.DataFrame) -> Forecast:
    """The published objective: Huber with delta 1e-3, five parameters, all runs alike."""
    return _of_law(fit_scaling_law(train, delta=1e-3))


def approach_2(train: pd.DataFrame) -> Forecast | None:
    """A parabola per budget; through the minima a power law for N and `E + k·C^-p` for the loss; None with fewer than
    two minima."""
    inside = [minimum for minimum in isoflop_minima(read_runs(train)) if minimum.interior]
    if len(inside) < 2:
        return None
    C, N, loss = np.array([(minimum.compute_budget, minimum.N, minimum.loss) for minimum in inside]).T
    return Forecast(N_opt=fit_power_law(C, N), L_opt=_saturating(C, loss))


FORECASTERS = {"default": default, "approach 3": approach_3, "approach 2": approach_2}


def _of_law(law: ScalingLaw) -> Forecast:
    return Forecast(
        N_opt=law.N_opt,
        L_opt=law.L_opt,
        loss=law.loss,
        interval=law.interval,
        verdict=lambda name, C: law.verdict_at(C, name),
        with_prior=lambda prior: _with_prior(law, prior).interval,
    )


def _with_prior(law: ScalingLaw, prior: float) -> ScalingLaw:
    if not law.candidates:
        return law
    misfit = misfit_of(law.prediction.misses, law.runs.span, prior=prior)
    return replace(law, prediction=replace(law.prediction, misfit=misfit))


def _saturating(C: np.ndarray, loss: np.ndarray) -> Numbers:
    """`E + k·C^-p` by least squares over a grid of p; a straight line in logarithms for fewer than 4 minima."""
    if len(C) < 4:
        line = fit_power_law(C, loss)
        return lambda compute: line(compute)
    centre = np.exp(np.log(C).mean())
    fits = []
    for p in np.geomspace(0.005, 1.0, 120):
        terms = np.column_stack([np.ones_like(C), (C / centre) ** -p]) / loss[:, None]
        (E, k), *_ = np.linalg.lstsq(terms, np.ones_like(C), rcond=None)
        if E >= 0:
            fits.append((float(((terms @ [E, k] - 1) ** 2).sum()), float(E), float(k), float(p)))
    _, E, k, p = min(fits)
    return lambda compute: E + k * (np.asarray(compute) / centre) ** -p
