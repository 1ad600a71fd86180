"""Laws moved onto the runs at the largest compute, where a law that bends is most wrong and an extrapolation begins.

A law fitted to all budgets of runs that bend passes beside the last of them: on public studies its loss at the largest
budget was too high nine times in ten, and its valley lay to one side. Its E was too high as well: at the largest
compute losses fall faster, and valleys are narrower, than it says. So the laws that answer are moved, all alike: E by a
factor e^h, the rest of the loss so that the loss in the valley of the largest compute stays, and then the loss by a
factor and N along each budget by one, `e^g · L(N·e^-s, D·e^s)`. g, s and h are fitted to the residuals near the valley
of the largest compute, and drawn towards 0 as by a normal prior. Where E is known it stays (h = 0), and e^g is a factor
of the rest of the loss.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from flops_fit.scaling_law.flops_per_token import FlopsPerToken
from flops_fit.scaling_law.mixture import mixed_loss, mixed_optimum
from flops_fit.scaling_law.table.runs import Runs

RECENT = 0.2  # ln C below the largest budget at which a run's weight has fallen by a factor e
VALLEY = 1.0  # |ln(N/N_opt)| at which it has halved
LOSS_PRIOR, SIZE_PRIOR, E_PRIOR = 0.02, 0.2, 0.025  # standard deviations of g, s and h
CUT = 3.0  # residual scales from the median at which a residual is cut off
LEAST_WEIGHT = 0.01
STEPS = 2  # Gauss and Newton's; the third moves g by less than 1e-5
_STEP = 1e-4  # in ln N, of the slope


@dataclass(frozen=True, kw_only=True)
class Move:
    """`e^g · L(N·e^-s, D·e^s)` of a law L whose E is e^h as large, with g = `log_loss`, s = `log_size`, h = `log_E`.

    N_opt of a budget is e^s as large (exactly so where FLOPs per token are proportional to N). With another E, L stays
    as it was at `pivot` (N, D) in each member. With `keeps_E` g is of the loss above E.
    """

    log_loss: float = 0.0
    log_size: float = 0.0
    log_E: float = 0.0
    pivot: tuple[float, float] = (1.0, 1.0)
    keeps_E: bool = False

    def on_loss(self, members: np.ndarray, num_params: float, num_tokens: float) -> float:
        """By how much ln L was moved at N and D, of moved `members` (members, 6)."""
        N, D = np.array([num_params]), np.array([num_tokens])
        if self.keeps_E:
            return self.log_loss * float(_above_E(members, N, D)[0])
        before = _with_E(members, -self.log_E, self.moved_pivot)
        return self.log_loss + float(np.log(mixed_loss(members, N, D) / mixed_loss(before, N, D))[0])

    @property
    def moved_pivot(self) -> tuple[float, float]:
        """Where N and D of `pivot` have gone."""
        return self.pivot[0] * float(np.exp(self.log_size)), self.pivot[1] * float(np.exp(-self.log_size))

    def __call__(self, members: np.ndarray) -> np.ndarray:
        """Members (..., 6) moved, which are laws of the same form."""
        shift = np.array([self.log_loss, self.log_size, self.log_E])
        return _moved(members, shift, self)


@dataclass(frozen=True, kw_only=True, eq=False)
class Anchor:
    """Laws moved, `members` (members, 6), and by what.

    `gain` (3, runs) is how (g, s, h) follow the residuals of the runs at `where`; `error` (3, 3) is the Cholesky factor
    of their covariance.
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
        noise = np.random.default_rng(seed).standard_normal((len(refits), 3)) @ self.error.T
        with np.errstate(invalid="ignore", over="ignore"):  # of a refit that ran away
            shift = np.array([self.move.log_loss, self.move.log_size, self.move.log_E]) + change @ self.gain.T + noise
            return _moved(refits, shift[:, None], self.move)


def _moved(members: np.ndarray, shift: np.ndarray, move: Move) -> np.ndarray:
    """Members (..., 6) moved by shift (..., 3) about the pivot of `move`."""
    log_loss, log_size, log_E = np.moveaxis(shift, -1, 0)
    E, A, B, alpha, beta, gamma = np.moveaxis(_with_E(members, log_E, move.pivot), -1, 0)
    of_n, of_d = np.exp(log_loss / gamma + alpha * log_size), np.exp(log_loss / gamma - beta * log_size)
    return np.stack([E if move.keeps_E else E * np.exp(log_loss), A * of_n, B * of_d, alpha, beta, gamma], axis=-1)


def _with_E(members: np.ndarray, log_E: np.ndarray | float, pivot: tuple[float, float]) -> np.ndarray:
    """Members (..., 6) with E a factor e^log_E as large, each with its loss at `pivot` (N, D) as it was."""
    E, A, B, alpha, beta, gamma = np.moveaxis(members, -1, 0)
    rest = (A * pivot[0] ** -alpha + B * pivot[1] ** -beta) ** gamma
    factor = (1 + E * (1 - np.exp(log_E)) / rest) ** (1 / gamma)
    return np.stack([E * np.exp(log_E), A * factor, B * factor, alpha, beta, gamma], axis=-1)


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
    prior = np.diag([(LOSS_PRIOR / np.median(above)) ** -2, SIZE_PRIOR**-2, E_PRIOR**-2])
    best = float(mixed_optimum(members, top, flops_per_token))
    move = Move(keeps_E=keeps_E, pivot=(best, top / float(flops_per_token(best))))
    shift = np.zeros(3)
    for _ in range(STEPS):
        now = move(members)
        distance = np.log(N / mixed_optimum(now, flops, flops_per_token))
        weight = runs.weight[where] * np.exp(-age / RECENT) / (1 + (distance / VALLEY) ** 4)
        of_E = np.zeros_like(N) if keeps_E else _of_E(now, N, D, move.moved_pivot)
        design = np.column_stack([above, -_slope(now, N, flops, flops_per_token), of_E])
        off = _cut(np.log(runs.loss[where] / mixed_loss(now, N, D)), weight, CUT * scale)
        pull = design.T * weight / scale**2
        inverse = np.linalg.inv(pull @ design + prior)
        shift = shift + inverse @ (pull @ off - prior @ shift)
        move = replace(move, log_loss=float(shift[0]), log_size=float(shift[1]), log_E=float(shift[2]))
    gain = inverse @ pull
    covariance = (gain * scale**2) @ gain.T
    return Anchor(
        members=move(members),
        move=move,
        where=where,
        gain=gain,
        error=np.linalg.cholesky(covariance + 1e-18 * np.eye(3)),
    )


def _cut(residual: np.ndarray, weight: np.ndarray, most: float) -> np.ndarray:
    """Residuals no further than `most` from the median of those that count."""
    middle = np.median(residual[weight > LEAST_WEIGHT * weight.max()])
    return np.clip(residual, middle - most, middle + most)


def _above_E(members: np.ndarray, N: np.ndarray, D: np.ndarray) -> np.ndarray:
    """The share of the loss that is above E, the mean over members, shape (runs,)."""
    return np.asarray((1 - members[:, :1] / _losses(members, N, D)).mean(axis=0))


def _of_E(members: np.ndarray, N: np.ndarray, D: np.ndarray, pivot: tuple[float, float]) -> np.ndarray:
    """d ln L / dh, the mean over members, shape (runs,): where the rest of the loss is as at the pivot, nothing."""
    E, losses = members[:, :1], _losses(members, N, D)
    rest = _losses(members, *(np.array([value]) for value in pivot)) - E
    return np.asarray((E / losses * (1 - (losses - E) / rest)).mean(axis=0))


def _losses(members: np.ndarray, N: np.ndarray, D: np.ndarray) -> np.ndarray:
    """Each member's own losses, (members, runs)."""
    return mixed_loss(members[:, None, None], N, D)


def _slope(members: np.ndarray, N: np.ndarray, flops: np.ndarray, flops_per_token: FlopsPerToken) -> np.ndarray:
    """d ln L / d ln N along each run's budget, shape (runs,)."""
    up, down = N * np.exp(_STEP), N * np.exp(-_STEP)
    higher, lower = (np.log(mixed_loss(members, n, flops / flops_per_token(n))) for n in (up, down))
    return np.asarray((higher - lower) / (2 * _STEP))
