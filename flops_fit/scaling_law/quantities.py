"""What intervals can be asked of: each quantity as a function of the law's parameters, and a new run's noise."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from flops_fit.errors import FitError
from flops_fit.scaling_law.fitting.analytic_intervals import Optimum
from flops_fit.scaling_law.fitting.objective import centre, from_parameters
from flops_fit.scaling_law.fitting.weighting import residual_scale
from flops_fit.scaling_law.flops_per_token import optimal_params

if TYPE_CHECKING:
    from flops_fit.scaling_law.law import ScalingLaw

PARAMETERS = ("E", "A", "B", "alpha", "beta")
AT_COMPUTE = ("N_opt", "D_opt", "L_opt", "tokens_per_param")


def law_loss(parameters: np.ndarray, num_params: np.ndarray | float, num_tokens: np.ndarray | float) -> np.ndarray:
    """`E + A/N^alpha + B/D^beta` for parameters of shape (..., 5)."""
    E, A, B, alpha, beta = np.moveaxis(parameters, -1, 0)
    N, D = np.asarray(num_params, dtype=float), np.asarray(num_tokens, dtype=float)
    return np.asarray(E + A * N**-alpha + B * D**-beta)


def checked_compute(compute: Any) -> np.ndarray:
    """`compute` as an array of FLOPs; raises `FitError` unless positive and finite."""
    try:
        values = np.asarray(compute, dtype=float)
    except (TypeError, ValueError):
        values = np.array(np.nan)
    if not (np.isfinite(values) & (values > 0)).all():
        raise FitError(f"compute = {compute!r} must be a positive, finite number of FLOPs, for example 1e21")
    return values


def quantity_function(
    law: ScalingLaw, quantity: str, compute: float | None, num_params: float | None, num_tokens: float | None
) -> Callable[[np.ndarray], np.ndarray]:
    """A quantity as a function of parameters, (k, 5) -> (k,)."""
    if quantity in PARAMETERS:
        return lambda p: p[:, PARAMETERS.index(quantity)]
    if quantity in ("a", "b"):
        return lambda p: (p[:, 4] if quantity == "a" else p[:, 3]) / (p[:, 3] + p[:, 4])
    if quantity == "loss" and num_params is not None and num_tokens is not None:
        return lambda p: law_loss(p, num_params, num_tokens)
    if quantity in AT_COMPUTE and compute is not None:
        budget = float(checked_compute(compute))
        return lambda p: _at_compute(law, p, quantity, budget)
    raise FitError(
        f"no interval for {quantity!r} with compute = {compute!r}: give E, A, B, alpha, beta, a or b; "
        f"{', '.join(AT_COMPUTE)} with compute; or loss or new_run with num_params and num_tokens"
    )


def _at_compute(law: ScalingLaw, parameters: np.ndarray, quantity: str, compute: float) -> np.ndarray:
    with np.errstate(all="ignore"):  # draws of runaway exponents give 0 or infinity, and are shown as such
        N = optimal_params(parameters, compute, law.flops_per_token)
        D = compute / law.flops_per_token(N)
        if quantity == "L_opt":
            return law_loss(parameters, N, D)
        return {"N_opt": N, "D_opt": D, "tokens_per_param": D / N}[quantity]


def new_run_noise(law: ScalingLaw, count: int, num_params: float, num_tokens: float) -> np.ndarray:
    """Log-loss noise of a new run: the runs' own scaled residuals drawn again, at the scale expected there."""
    compute = float(law.flops_per_token(num_params)) * num_tokens
    distance = np.log(num_params / law.N_opt(compute))
    age = np.log(max(float(law.runs.flops.max()) / compute, 1.0))
    scale = residual_scale(distance, age, law.weighting.v or np.inf, law.weighting.c or np.inf)
    generator = np.random.default_rng(int(law.options.get("seed", 0)) + 1)
    spread = np.sqrt(len(law.residual) / max(len(law.residual) - 5, 1))
    return -generator.choice(law.residual / law.scale, count) * spread * scale


def optimum_of(law: ScalingLaw) -> Optimum:
    """What the instant intervals need of the law."""
    data = centre(law.runs.num_params, law.runs.num_tokens, law.runs.loss)
    return Optimum(
        theta=from_parameters(law.parameters, data)[0],
        data=data,
        weights=law.runs.weight / law.scale**2,
        delta=law.delta * law.scale,
        scale=law.scale,
        residual=law.residual,
    )
