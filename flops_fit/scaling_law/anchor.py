"""Laws moved onto the runs at the largest compute, where a law that bends is most wrong and an extrapolation begins.

A law fitted to all budgets of runs that bend passes beside the last of them: on public studies its loss at the largest
budget was too high nine times in ten, and its valley lay to one side. So the laws that answer are moved, all alike, by
a factor of the loss and one of N along each budget: `e^g · L(N·e^-s, D·e^s)`. g and s are fitted to the residuals near
the valley of the largest compute, and drawn towards 0 as by a normal prior. Where E is known it stays, and e^g is a
factor of the rest of the loss.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from flops_fit.scaling_law.flops_per_token import FlopsPerToken
from flops_fit.scaling_law.mixture import mixed_loss, mixed_optimum
from flops_fit.scaling_law.table.runs import Runs

RECENT = 0.25  # ln C below the largest budget at which a run's weight has fallen by a factor e
VALLEY = 1.0  # |ln(N/N_opt)| at which it has halved
LOSS_PRIOR, SIZE_PRIOR = 0.02, 0.2  # standard deviations of g and s
CUT = 3.0  # residual scales from the median at which a residual is cut off
LEAST_WEIGHT = 0.01
STEPS = 2  # Gauss and Newton's; the third moves g by less than 1e-5
_STEP = 1e-4  # in ln N, of the slope


@dataclass(frozen=True, kw_only=True)
class Move:
    """`e^g · L(N·e^-s, D·e^s)` of a law L, with g = `log_loss` and s = `log_size`: N_opt of a budget is e^s as large
    (exactly so where FLOPs per token are proportional to N). With `keeps_E` g is of the loss above E."""

    log_loss: float = 0.0
    log_size: float = 0.0
    keeps_E: bool = False

    def on_loss(self, members: np.ndarray, num_params: float, num_tokens: float) -> float:
        """By how much ln L was moved at N and D, of `members` (members, 6)."""
        if not self.keeps_E:
            return self.log_loss
        return self.log_loss * float(_above_E(members, np.array([num_params]), np.array([num_tokens]))[0])

    def __call__(self, members: np.ndarray) -> np.ndarray:
        """Members (..., 6) moved, which are laws of the same form."""
        return _moved(members, self.log_loss, self.log_size, self.keeps_E)


@dataclass(frozen=True, kw_only=True, eq=False)
class Anchor:
    """Laws moved, `members` (members, 6), and by what.

    `gain` (2, runs) is how the move follows the residuals of the runs at `where`; `error` (2, 2) is the Cholesky factor
    of its covariance.
    """

    members: np.ndarray
    move: Move
    where: np.ndarray
    gain: np.ndarray
    error: np.ndarray

    def draws(self, refits: np.ndarray, members: np.ndarray, runs: Runs, seed: int) -> np.ndarray:
        """Refits (resamples, members, 6) of `members` (members, 6, not moved), moved with the noise of moving."""
        N, D = runs.num_params[self.where], runs.num_tokens[self.where]
        change = np.log(mixed_loss(members, N, D)) - np.log(mixed_loss(refits[:, None], N, D))
        noise = np.random.default_rng(seed).standard_normal((len(refits), 2)) @ self.error.T
        with np.errstate(invalid="ignore", over="ignore"):  # of a refit that ran away
            shift = np.array([self.move.log_loss, self.move.log_size]) + change @ self.gain.T + noise
            return _moved(refits, shift[:, 0, None], shift[:, 1, None], self.move.keeps_E)


def _moved(
    members: np.ndarray, log_loss: np.ndarray | float, log_size: np.ndarray | float, keeps_E: bool
) -> np.ndarray:
    E, A, B, alpha, beta, gamma = np.moveaxis(members, -1, 0)
    of_n, of_d = np.exp(log_loss / gamma + alpha * log_size), np.exp(log_loss / gamma - beta * log_size)
    return np.stack([E if keeps_E else E * np.exp(log_loss), A * of_n, B * of_d, alpha, beta, gamma], axis=-1)


def anchor(
    members: np.ndarray,
    runs: Runs,
    top: float,
    flops_per_token: FlopsPerToken,
    scale: float,
    *,
    keeps_E: bool = False,
) -> Anchor:
    """`members` (members, 6) moved onto those of `runs` that are near the valley at about `top` FLOPs.

    `scale` is the noise of one run's log loss; `keeps_E` says that the members' E are known.
    """
    age = np.maximum(np.log(top / runs.flops), 0.0)
    where = np.flatnonzero(runs.weight * np.exp(-age / RECENT) > LEAST_WEIGHT)
    N, D, flops, age = runs.num_params[where], runs.num_tokens[where], runs.flops[where], age[where]
    above = _above_E(members, N, D) if keeps_E else np.ones_like(N)  # d ln L / dg
    prior = np.diag([(LOSS_PRIOR / np.median(above)) ** -2, SIZE_PRIOR**-2])
    move, shift = Move(keeps_E=keeps_E), np.zeros(2)
    for _ in range(STEPS):
        now = move(members)
        distance = np.log(N / mixed_optimum(now, flops, flops_per_token))
        weight = runs.weight[where] * np.exp(-age / RECENT) / (1 + (distance / VALLEY) ** 4)
        design = np.column_stack([above, -_slope(now, N, flops, flops_per_token)])
        off = _cut(np.log(runs.loss[where] / mixed_loss(now, N, D)), weight, CUT * scale)
        pull = design.T * weight / scale**2
        inverse = np.linalg.inv(pull @ design + prior)
        shift = shift + inverse @ (pull @ off - prior @ shift)
        move = Move(log_loss=float(shift[0]), log_size=float(shift[1]), keeps_E=keeps_E)
    gain = inverse @ pull
    covariance = (gain * scale**2) @ gain.T
    return Anchor(
        members=move(members),
        move=move,
        where=where,
        gain=gain,
        error=np.linalg.cholesky(covariance + 1e-18 * np.eye(2)),
    )


def _cut(residual: np.ndarray, weight: np.ndarray, most: float) -> np.ndarray:
    """Residuals no further than `most` from the median of those that count."""
    middle = np.median(residual[weight > LEAST_WEIGHT * weight.max()])
    return np.clip(residual, middle - most, middle + most)


def _above_E(members: np.ndarray, N: np.ndarray, D: np.ndarray) -> np.ndarray:
    """The share of the loss that is above E, the mean over members, shape (runs,)."""
    losses = mixed_loss(members[:, None, None], N, D)  # one member at a time: (members, runs)
    return np.asarray((1 - members[:, :1] / losses).mean(axis=0))


def _slope(members: np.ndarray, N: np.ndarray, flops: np.ndarray, flops_per_token: FlopsPerToken) -> np.ndarray:
    """d ln L / d ln N along each run's budget, shape (runs,)."""
    up, down = N * np.exp(_STEP), N * np.exp(-_STEP)
    higher, lower = (np.log(mixed_loss(members, n, flops / flops_per_token(n))) for n in (up, down))
    return np.asarray((higher - lower) / (2 * _STEP))
