"""Several laws as one: ln L is the mean of theirs, and N_opt(C) is where that is lowest.

A member is (E, A, B, alpha, beta, gamma) of `L(N, D) = E + (A/N^alpha + B/D^beta)^gamma`; arrays of members have shape
(..., members, 6), and one member with gamma = 1 is the five-parameter law.
"""

from __future__ import annotations

import numpy as np

from flops_fit.scaling_law.flops_per_token import FlopsPerToken, optimal_params

STEPS = 44  # towards N_opt at most: halvings of the bracket where nothing faster works
CLOSE = 1e-13  # in ln N


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
    return np.asarray(np.exp(_sign_change(members, own.min(axis=-1), own.max(axis=-1), C, flops_per_token)))


def _sign_change(
    members: np.ndarray, low: np.ndarray, high: np.ndarray, C: np.ndarray, flops_per_token: FlopsPerToken
) -> np.ndarray:
    """ln N between `low` and `high` where the slope turns from falling to rising, by regula falsi (Illinois)."""
    logs = np.log(members[..., 1]), np.log(members[..., 2])
    at_low, at_high = (_slope(members, logs, end[..., None], C, flops_per_token) for end in (low, high))
    best, was_falling = low, None
    for _ in range(STEPS):
        with np.errstate(divide="ignore", invalid="ignore"):
            middle = low - at_low * (high - low) / (at_high - at_low)
        middle = np.where(np.isfinite(middle), np.clip(middle, low, high), (low + high) / 2)
        slope = _slope(members, logs, middle[..., None], C, flops_per_token)
        moved, best = np.abs(middle - best), middle
        falling = slope < 0
        kept = np.where(falling == was_falling, 0.5, 1.0)  # an end that stays twice is moved nearer
        at_low, at_high = np.where(falling, slope, at_low * kept), np.where(falling, at_high * kept, slope)
        low, high = np.where(falling, middle, low), np.where(falling, high, middle)
        was_falling = falling
        if not (moved > CLOSE).any():
            break
    return best


def _slope(
    members: np.ndarray,
    logs: tuple[np.ndarray, np.ndarray],
    log_n: np.ndarray,
    C: np.ndarray,
    flops_per_token: FlopsPerToken,
) -> np.ndarray:
    """d ln L / d ln N at C FLOPs, the mean over members; `logs` are ln A and ln B."""
    E, _, _, alpha, beta, gamma = np.moveaxis(members, -1, 0)
    N = np.exp(log_n)
    term_n = np.exp(logs[0] - alpha * log_n)
    term_d = np.exp(logs[1] - beta * (np.log(C) - np.log(flops_per_token(N))))
    total = term_n + term_d
    power = np.exp(gamma * np.log(total))
    change = beta * term_d * flops_per_token.elasticity(N) - alpha * term_n
    return np.asarray((gamma * power / total * change / (E + power)).mean(axis=-1))
