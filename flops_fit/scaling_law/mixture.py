"""Several laws as one: ln L is the mean of theirs, and N_opt(C) is where that is lowest.

A member is (E, A, B, alpha, beta, gamma) of `L(N, D) = E + (A/N^alpha + B/D^beta)^gamma`; arrays of members have shape
(..., members, 6), and one member with gamma = 1 is the five-parameter law.
"""

from __future__ import annotations

import numpy as np

from flops_fit.scaling_law.flops_per_token import FlopsPerToken, optimal_params

HALVINGS = 44  # of the bracket around N_opt


def as_members(parameters: np.ndarray) -> np.ndarray:
    """Five-parameter laws (..., 5) as mixtures of one, (..., 1, 6)."""
    return np.concatenate([parameters, np.ones((*parameters.shape[:-1], 1))], axis=-1)[..., None, :]


def mixed_loss(members: np.ndarray, num_params: np.ndarray | float, num_tokens: np.ndarray | float) -> np.ndarray:
    """Loss at N and D, which broadcast against `members[..., 0, 0]`."""
    N, D = (np.asarray(value, dtype=float)[..., None] for value in (num_params, num_tokens))
    E, A, B, alpha, beta, gamma = np.moveaxis(members, -1, 0)
    losses = E + (A * N**-alpha + B * D**-beta) ** gamma
    return losses[..., 0] if losses.shape[-1] == 1 else np.exp(np.log(losses).mean(axis=-1))


def mixed_optimum(members: np.ndarray, compute: np.ndarray | float, flops_per_token: FlopsPerToken) -> np.ndarray:
    """N_opt at C FLOPs, which broadcast against `members[..., 0, 0]`.

    gamma moves no member's own optimum; that of the mixture lies between theirs, where its slope changes sign.
    """
    C = np.asarray(compute, dtype=float)[..., None]
    own = np.log(optimal_params(members[..., :5], C, flops_per_token))
    if members.shape[-2] == 1:
        return np.asarray(np.exp(own[..., 0]))
    low, high = own.min(axis=-1), own.max(axis=-1)
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        falling = _slope(members, middle[..., None], C, flops_per_token) < 0
        low, high = np.where(falling, middle, low), np.where(falling, high, middle)
    return np.asarray(np.exp((low + high) / 2))


def _slope(members: np.ndarray, log_n: np.ndarray, C: np.ndarray, flops_per_token: FlopsPerToken) -> np.ndarray:
    """d ln L / d ln N at C FLOPs, the mean over members."""
    E, A, B, alpha, beta, gamma = np.moveaxis(members, -1, 0)
    N = np.exp(log_n)
    term_n, term_d = A * N**-alpha, B * (C / flops_per_token(N)) ** -beta
    total = term_n + term_d
    power = total**gamma
    change = beta * term_d * flops_per_token.elasticity(N) - alpha * term_n
    return np.asarray((gamma * power / total * change / (E + power)).mean(axis=-1))
