"""What follows from the law's parameters, as functions of them: loss, exponents, optimum at a compute."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from flops_fit.errors import FitError
from flops_fit.scaling_law.fitting.objective import PARAMETERS
from flops_fit.scaling_law.flops_per_token import FlopsPerToken
from flops_fit.scaling_law.mixture import mixed_loss, mixed_optimum

EXPONENTS = ("a", "b")
MOST_COMPUTE = 1e50  # FLOPs: beyond, N_opt would end where its search does
AT_COMPUTE = ("N_opt", "D_opt", "L_opt", "tokens_per_param")


def law_loss(parameters: np.ndarray, num_params: np.ndarray | float, num_tokens: np.ndarray | float) -> np.ndarray:
    """`E + A/N^alpha + B/D^beta` for parameters of shape (..., 5)."""
    E, A, B, alpha, beta = np.moveaxis(parameters, -1, 0)
    N, D = np.asarray(num_params, dtype=float), np.asarray(num_tokens, dtype=float)
    return np.asarray(E + A * N**-alpha + B * D**-beta)


def exponent_a(parameters: np.ndarray) -> np.ndarray:
    """Exponent of N_opt in C, `beta/(alpha + beta)` (Hoffmann et al. 2022, equation 4), for parameters (..., 5)."""
    return np.asarray(parameters[..., 4] / (parameters[..., 3] + parameters[..., 4]))


def checked_compute(compute: Any) -> np.ndarray:
    """`compute` as an array of FLOPs; raises `FitError` unless positive and at most `MOST_COMPUTE`."""
    values = _as_floats(compute)
    if not (np.isfinite(values) & (values > 0)).all():
        raise FitError(f"compute = {compute!r} must be a positive, finite number of FLOPs, for example 1e21")
    if (values > MOST_COMPUTE).any():
        raise FitError(f"compute = {compute!r} must be at most {MOST_COMPUTE:g} FLOPs; no law reaches further")
    return values


def one_compute(compute: Any) -> float:
    """The same of one number; raises `FitError` for several."""
    if checked_compute(compute).ndim:
        raise FitError(f"compute = {compute!r} must be one number of FLOPs, for example 1e21; ask for each by itself")
    return float(compute)


def positive(name: str, value: Any) -> np.ndarray:
    """`value` as an array of positive numbers, of which any may be infinite; raises `FitError` otherwise."""
    values = _as_floats(value)
    if not (values > 0).all():
        raise FitError(f"{name} = {value!r} must be above 0; give a positive number, for example 1e9")
    return values


def _as_floats(value: Any) -> np.ndarray:
    """NaN of what is no number."""
    try:
        return np.asarray(value, dtype=float)
    except (TypeError, ValueError):
        return np.array(np.nan)


def quantity_function(
    flops_per_token: FlopsPerToken,
    quantity: str,
    compute: float | None,
    num_params: float | None,
    num_tokens: float | None,
) -> Callable[[np.ndarray], np.ndarray]:
    """A quantity as a function of members, (k, members, 6) -> (k,); parameters and exponents of the first member."""
    if quantity in PARAMETERS:
        return lambda m: m[:, 0, PARAMETERS.index(quantity)]
    if quantity in EXPONENTS:
        return lambda m: exponent_a(m[:, 0]) if quantity == "a" else 1 - exponent_a(m[:, 0])
    if quantity == "loss" and num_params is not None and num_tokens is not None:
        N, D = positive("num_params", num_params), positive("num_tokens", num_tokens)
        return lambda m: mixed_loss(m, N, D)
    if quantity in AT_COMPUTE and compute is not None:
        budget = one_compute(compute)
        return lambda m: at_size(quantity, m, optima(m, budget, flops_per_token), budget, flops_per_token)
    raise FitError(
        f"no interval for {quantity!r} with compute = {compute!r}: give E, A, B, alpha, beta, a or b; "
        f"{', '.join(AT_COMPUTE)} with compute; or loss or new_run with num_params and num_tokens"
    )


def optima(members: np.ndarray, compute: float, flops_per_token: FlopsPerToken) -> np.ndarray:
    """N_opt of each of many draws, (k,) for members (k, members, 6); 0 or infinity of exponents that ran away."""
    with np.errstate(all="ignore"):
        return mixed_optimum(members, compute, flops_per_token)


def at_size(
    quantity: str, members: np.ndarray, N: np.ndarray, compute: float, flops_per_token: FlopsPerToken
) -> np.ndarray:
    """One of `AT_COMPUTE` where N is the members' optimum at C FLOPs, (k,) for members (k, members, 6)."""
    with np.errstate(all="ignore"):
        if quantity == "L_opt":
            return mixed_loss(members, N, compute / flops_per_token(N))
        return from_size(quantity, N, compute, flops_per_token)


def from_size(quantity: str, N: np.ndarray, compute: float, flops_per_token: FlopsPerToken) -> np.ndarray:
    """N_opt, D_opt or tokens per parameter where N is the optimum at C FLOPs."""
    D = compute / flops_per_token(N)
    return {"N_opt": N, "D_opt": D, "tokens_per_param": D / N}[quantity]
