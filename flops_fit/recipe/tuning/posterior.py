"""The response surface given trials: the most probable parameters and their covariance.

Gaussian approximation about the maximum (Laplace). Residuals are weighed as Student's t with `NU` degrees of freedom
(one wrong run pulls little), the sd of a trial grows with its excess (far from the optimum the form is wrong), and what
diverged says that the value was above the best one for its other values, nothing more.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from flops_fit.recipe.tuning.surface import Array, Surface
from flops_fit.recipe.tuning.trial import Cell, Trial
from flops_fit.recipe.tuning.tuned import Tuned

NU = 4.0  # degrees of freedom of the residuals
FORM_ERROR = 0.15  # sd of the form's own error near the optimum, as a share of the excess
NOISE, NOISE_DOF = 0.003, 2.0  # what is believed of the sd of log loss, worth two trials
TILT = (0.5, 0.5)  # c of rate and batch: the square root of the batch (Malladi et al. 2022, arXiv 2205.10287)
NO_TILT = (0.0, 0.3)
STRAY = 0.1  # sd of ln optimum of a cell about the power law
LEVEL_SD = 10.0  # of log loss: nothing is known
TOO_BAD = 0.1  # log loss above its cell's best: beyond what any form describes
EDGE_MARGIN, EDGE_SD = 0.1, 0.3  # what diverged lies this far above the best value
STARTS, STEPS = 5, 40


@dataclass(frozen=True, kw_only=True, eq=False)
class Evidence:
    """Trials as arrays, in an order that does not depend on theirs.

    Attributes:
        x: (n, k) logarithms of the tuned values. place: (n, 2) ln N/N0, ln D/D0. cell: (n) number of its level.
        y: (n) log loss, 0 where it diverged. done: (n) whether it has a loss.
        seen: (n) log loss above the best trial of the cell.
    """

    x: Array
    place: Array
    cell: Array
    y: Array
    done: Array
    seen: Array

    @classmethod
    def of(cls, trials: Sequence[Trial], names: Sequence[str], origin: Cell, cells: Sequence[Cell]) -> Evidence:
        """`origin` is (N0, D0); `cells` holds every trial's cell."""
        ordered = sorted(trials, key=lambda trial: trial.key)
        done = np.array([trial.loss is not None for trial in ordered], dtype=bool)
        y = np.array([np.log(trial.loss) if trial.loss else 0.0 for trial in ordered])
        cell = np.array([cells.index(trial.cell) for trial in ordered], dtype=int)
        best = np.full(len(cells), np.inf)
        np.minimum.at(best, cell[done], y[done])
        return cls(
            x=np.log([[trial.values[name] for name in names] for trial in ordered]).reshape(-1, len(names)),
            place=np.log([np.divide(trial.cell, origin) for trial in ordered]).reshape(-1, 2),
            cell=cell,
            y=y,
            done=done,
            seen=np.where(done, y - best[cell], 0.0),
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class Posterior:
    """Most probable parameters, their covariance, and the noise.

    `dof`: degrees of freedom of Student's t for everything linear in the parameters.
    """

    surface: Surface
    theta: Array
    covariance: Array
    sigma: float
    dof: float


def prior(tuned: Sequence[Tuned], surface: Surface, guess_at: Array) -> tuple[Array, Array]:
    """Mean and sd of every parameter; the guesses hold at `guess_at`, which is (ln N/N0, ln D/D0)."""
    mean, sd = np.zeros(surface.size), np.full(surface.size, LEVEL_SD)
    for at, item in enumerate(tuned):
        belief = item.believed
        (guess, off), p, q = item.log_guess, belief.exponent_of_params, belief.exponent_of_tokens
        typical, factor = belief.curvature
        here = (guess - p[0] * guess_at[0] - q[0] * guess_at[1], off)
        pairs = (here, p, q, (np.log(typical), np.log(factor)), belief.asymmetry)
        for name, (middle, spread) in zip(("m", "p", "q", "log_h", "skew"), pairs, strict=True):
            mean[surface.part(name).start + at], sd[surface.part(name).start + at] = middle, spread
    names = [item.name for item in tuned]
    for at, (row, column) in enumerate(zip(*np.triu_indices(len(names), 1), strict=True)):
        tilt = TILT if (names[row], names[column]) == ("learning_rate", "batch_tokens") else NO_TILT
        mean[surface.part("c").start + at], sd[surface.part("c").start + at] = tilt
    sd[surface.part("stray")] = STRAY
    return mean, sd


@dataclass(frozen=True, kw_only=True, eq=False)
class Problem:
    """What the parameters are fitted to: trials, prior, and which quantities are too high where one diverged."""

    surface: Surface
    evidence: Evidence
    mean: Array
    sd: Array
    upward: Array

    def residuals(self, theta: Array, sigma: float) -> tuple[Array, Array]:
        """Standardised residuals (S, n) of the trials and their Jacobian (S, n, size) at `theta` (S, size)."""
        had = self.evidence
        excess, gradient, v, turned = self.surface.with_gradient(theta, had.x, had.place, had.cell)
        sd = np.sqrt(variance(sigma, np.maximum(excess, had.seen), v))
        level = theta[:, : self.surface.cells][:, had.cell]
        residual, jacobian = (had.y - level - excess) / sd, -gradient / sd[..., None]
        if not had.done.all():
            short, by_theta = self._too_near(v, turned)
            residual = np.where(had.done, residual, short)
            jacobian = np.where(had.done[:, None], jacobian, by_theta)
        return residual, jacobian

    def _too_near(self, v: Array, turned: Array) -> tuple[Array, Array]:
        """For what diverged: by how much too little above the best value it was, in sd, and the derivatives."""
        had = self.evidence
        near = np.where(self.upward, EDGE_MARGIN - v, -np.inf)
        at = near.argmax(-1)[..., None]
        short = np.maximum(np.take_along_axis(near, at, -1)[..., 0], 0.0) / EDGE_SD
        row = np.take_along_axis(np.broadcast_to(turned[:, None], (*v.shape, v.shape[-1])), at[..., None], -2)[
            ..., 0, :
        ]
        by_theta = self.surface.moved_by(row * (short > 0)[..., None] / EDGE_SD, had.place, had.cell)
        return short, by_theta

    def weights(self, residual: Array) -> Array:
        """How much each trial counts: Student's t for those with a loss."""
        return np.where(self.evidence.done, (NU + 1) / (NU + residual**2), 1.0)

    def objective(self, theta: Array, sigma: float) -> Array:
        """(S) minus the log posterior for this sigma, up to a constant."""
        residual, _ = self.residuals(theta, sigma)
        t = 0.5 * (NU + 1) * np.log1p(residual**2 / NU)
        of_trials = np.where(self.evidence.done, t, 0.5 * residual**2).sum(-1)
        return of_trials + 0.5 * (((theta - self.mean) / self.sd) ** 2).sum(-1)


def variance(sigma: float, excess: Array, v: Array) -> Array:
    """Of a trial's log loss about the surface: noise, and the form's error, whose share grows with the distance `v`."""
    return sigma**2 + (FORM_ERROR * (1 + 0.5 * (v**2).sum(-1)) * excess) ** 2


def most_probable(problem: Problem) -> Posterior:
    """The maximum of the posterior, from several starts, with the noise found along the way."""
    theta, sigma, dof = _starts(problem), NOISE, NOISE_DOF
    for _ in range(4):
        theta = _minimised(problem, theta, sigma)
        best = theta[problem.objective(theta, sigma).argmin()][None]
        covariance, used, squares = _about(problem, best, sigma)
        dof = NOISE_DOF + max(problem.evidence.done.sum() - used, 0.0)
        sigma = float(np.sqrt((NOISE_DOF * NOISE**2 + squares * sigma**2) / dof))
    covariance, *_ = _about(problem, best, sigma)
    return Posterior(surface=problem.surface, theta=best[0], covariance=covariance, sigma=sigma, dof=float(dof))


def _starts(problem: Problem) -> Array:
    """Starts about the guess and about the best trials, with the levels at each cell's best."""
    had, surface = problem.evidence, problem.surface
    theta = np.tile(problem.mean, (STARTS, 1))
    for cell in range(surface.cells):
        mine = (had.cell == cell) & had.done
        theta[:, cell] = had.y[mine].min() if mine.any() else 0.0
    best = had.done & (had.seen <= 0.0)
    if best.any():
        p, q = (problem.mean[surface.part(name)] for name in "pq")
        middle = np.median(had.x[best] - had.place[best, :1] * p - had.place[best, 1:] * q, axis=0)
        shifts = np.array([0.0, 0.7, -0.7, 1.5])[:, None] * np.eye(surface.count)[0]
        theta[1:, surface.part("m")] = middle + shifts
    return theta


def _minimised(problem: Problem, theta: Array, sigma: float) -> Array:
    """Levenberg-Marquardt on reweighted squares from every row of `theta` at once."""
    damping, value = np.full(len(theta), 1e-3), problem.objective(theta, sigma)
    precision = problem.sd**-2.0
    for _ in range(STEPS):
        residual, jacobian = problem.residuals(theta, sigma)
        weighed = jacobian * problem.weights(residual)[..., None]
        slope = np.einsum("snp,sn->sp", weighed, residual) + (theta - problem.mean) * precision
        hessian = np.swapaxes(jacobian, 1, 2) @ weighed + np.diag(precision)
        diagonal = np.einsum("spp->sp", hessian)
        damped = hessian + damping[:, None, None] * diagonal[..., None] * np.eye(theta.shape[1])
        tried = theta - np.linalg.solve(damped, slope[..., None])[..., 0]
        found = problem.objective(tried, sigma)
        better = found < value
        gain = np.where(better, value - found, 0.0)
        theta, value = np.where(better[:, None], tried, theta), np.where(better, found, value)
        damping = np.clip(np.where(better, damping / 5, damping * 4), 1e-9, 1e9)
        if (gain < 1e-7).all() and better.any():
            break
    return theta


def _about(problem: Problem, theta: Array, sigma: float) -> tuple[Array, float, float]:
    """Covariance at `theta`, the parameters that the trials determine, and the weighed sum of squared residuals."""
    residual, jacobian = problem.residuals(theta, sigma)
    weights = problem.weights(residual)
    information = np.swapaxes(jacobian[0], 0, 1) @ (jacobian[0] * weights[0][:, None])
    covariance = np.linalg.inv(information + np.diag(problem.sd**-2.0))
    squares = (weights * residual**2)[0][problem.evidence.done].sum()
    return covariance, float((covariance * information).sum()), float(squares)
