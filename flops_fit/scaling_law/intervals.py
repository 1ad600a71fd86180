"""Intervals of a fitted law: sampling error, misfit of the form and noise of a new run, apart and together."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Protocol

import numpy as np

from flops_fit.errors import FitError
from flops_fit.scaling_law.fitting.analytic_intervals import Optimum, delta_interval, profile_interval
from flops_fit.scaling_law.fitting.held import at_end, checked, limits
from flops_fit.scaling_law.fitting.objective import LOWER, UPPER, centre, from_parameters
from flops_fit.scaling_law.fitting.weighting import Weighting, residual_scale
from flops_fit.scaling_law.flops_per_token import FlopsPerToken
from flops_fit.scaling_law.mixture import as_members
from flops_fit.scaling_law.prediction import Prediction
from flops_fit.scaling_law.quantities import (
    AT_COMPUTE,
    EXPONENTS,
    PARAMETERS,
    at_size,
    from_size,
    one_compute,
    quantity_function,
)
from flops_fit.scaling_law.table.runs import Runs

PARTS = ("sampling", "misfit", "run")
METHODS = ("bootstrap", "profile", "delta")


class Fitted(Protocol):
    """What intervals need of a law; attributes as of `FittedLaw`."""

    @property
    def parameters(self) -> np.ndarray: ...
    @property
    def members(self) -> np.ndarray: ...
    @property
    def member_draws(self) -> np.ndarray: ...
    @property
    def draws(self) -> np.ndarray: ...
    @property
    def residual(self) -> np.ndarray: ...
    @property
    def scale(self) -> np.ndarray: ...
    @property
    def delta(self) -> float: ...
    @property
    def runs(self) -> Runs: ...
    @property
    def weighting(self) -> Weighting: ...
    @property
    def flops_per_token(self) -> FlopsPerToken: ...
    @property
    def prediction(self) -> Prediction: ...
    @property
    def options(self) -> Mapping[str, Any]: ...
    @property
    def optimum_draws(self) -> Callable[[float], np.ndarray]: ...
    def N_opt(self, compute: float, /) -> Any: ...


def draw(
    law: Fitted,
    quantity: str,
    compute: float | None,
    num_params: float | None,
    num_tokens: float | None,
    parts: tuple[str, ...] = PARTS,
) -> np.ndarray:
    """Draws of a quantity, shape (resamples,), with the `parts` of its error that are asked for."""
    new_run = quantity == "new_run"
    function = quantity_function(law.flops_per_token, "loss" if new_run else quantity, compute, num_params, num_tokens)
    if quantity in (*PARAMETERS, *EXPONENTS):
        return function(as_members(law.draws))
    if quantity in AT_COMPUTE:
        C = one_compute(compute)
        sampled = at_size(quantity, law.member_draws, law.optimum_draws(C), C, law.flops_per_token)
        best = np.array([law.N_opt(C)])  # remembered by the law, as the draws are
        point = float(at_size(quantity, law.members[None], best, C, law.flops_per_token)[0])
    else:
        sampled, point = function(law.member_draws), float(function(law.members[None])[0])
    draws = sampled if "sampling" in parts else np.full(len(law.draws), point)
    if "misfit" in parts:
        C = float(compute or law.flops_per_token(num_params or 1.0) * (num_tokens or 1.0))
        draws = draws * _misfit_factors(law, quantity, sampled / point, C, num_params)
    if new_run and "run" in parts:
        draws = draws * np.exp(_new_run_noise(law, len(draws), num_params or 1.0, num_tokens or 1.0))
    return draws


def _misfit_factors(
    law: Fitted, quantity: str, sampled: np.ndarray, compute: float, num_params: float | None
) -> np.ndarray:
    """Factors by which the form's misfit moves draws of a quantity; `sampled` are those of sampling alone."""
    misfit, count, seed = law.prediction.misfit, len(sampled), int(law.options.get("seed", 0)) + 2
    # independent of sampling error, and as much of it as widens it by so much
    turned = np.random.default_rng(seed).permutation(sampled) ** np.sqrt(misfit.widening**2 - 1)
    distance = float(np.log(compute / law.runs.flops.max()))
    best = float(law.N_opt(compute))
    if quantity in AT_COMPUTE and quantity != "L_opt":
        N = best * np.exp(misfit.draws("N_opt", distance, 0.0, count, seed))
        exact = from_size(quantity, np.array(best), compute, law.flops_per_token)
        return np.asarray(turned * from_size(quantity, N, compute, law.flops_per_token) / exact)
    N = num_params or best
    spread = law.prediction.spread(N, compute / float(law.flops_per_token(N)))
    return np.asarray(turned * np.exp(misfit.draws("loss", distance, spread, count, seed)))


def _new_run_noise(law: Fitted, count: int, num_params: float, num_tokens: float) -> np.ndarray:
    """Log-loss noise of a new run: the runs' own scaled residuals drawn again, at the scale expected there."""
    generator = np.random.default_rng(int(law.options.get("seed", 0)) + 1)
    if len(law.prediction.noise):
        return -generator.choice(law.prediction.noise, count)
    compute = float(law.flops_per_token(num_params)) * num_tokens
    distance = np.log(num_params / law.N_opt(compute))
    age = np.log(max(float(law.runs.flops.max()) / compute, 1.0))
    scale = residual_scale(distance, age, law.weighting.v or np.inf, law.weighting.c or np.inf)
    spread = np.sqrt(len(law.residual) / max(len(law.residual) - 5, 1))
    return np.asarray(-generator.choice(law.residual / law.scale, count) * spread * scale)


def analytic_interval(
    law: Fitted,
    method: str,
    quantity: str,
    compute: float | None,
    num_params: float | None,
    num_tokens: float | None,
    level: float,
) -> tuple[float, float]:
    """The interval by "profile" or "delta", within what is held; raises `FitError` where these cannot know it."""
    if "shared" in law.options:
        raise FitError(
            f"method = {method!r} knows this table alone, and {' and '.join(law.options['shared'])} were "
            "fitted to several; give 'bootstrap'"
        )
    if law.prediction.form != "chinchilla" and quantity not in (*PARAMETERS, *EXPONENTS):
        raise FitError(
            f"method = {method!r} is about the five-parameter law, and {quantity} comes from a bent one; give "
            "'bootstrap', or fit with form='chinchilla'"
        )
    function = quantity_function(law.flops_per_token, quantity, compute, num_params, num_tokens)
    log = quantity not in ("E", "alpha", "beta", *EXPONENTS)
    interval = profile_interval if method == "profile" else delta_interval
    low, high = interval(optimum_of(law), lambda p: function(as_members(p)), level, log=log)
    least, most = checked(law.options.get("fix"), np.inf).get(quantity, (-np.inf, np.inf))
    return (low, high) if least == most else (max(low, least), min(high, most))


def optimum_of(law: Fitted) -> Optimum:
    """What the intervals without resampling need of the law; a parameter at the end of its range is held there."""
    held = checked(law.options.get("fix"), float(law.runs.loss.min()))
    lower, upper = limits(held)
    runs = law.runs
    data = centre(runs.num_params, runs.num_tokens, runs.loss, lower=lower, upper=upper, as_they_are=held)
    theta = np.clip(from_parameters(law.parameters, data)[0], lower, upper)
    stuck = ~data.free | np.isin(PARAMETERS, at_end(theta, data))
    return Optimum(
        theta=theta,
        data=replace(data, lower=np.where(stuck, theta, LOWER), upper=np.where(stuck, theta, UPPER)),
        weights=law.runs.weight / law.scale**2,
        delta=law.delta * law.scale,
        scale=law.scale,
        residual=law.residual,
    )
