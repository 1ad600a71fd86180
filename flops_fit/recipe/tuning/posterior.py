"""The response surface given trials: the most probable parameters and their covariance.

Gaussian approximation about the maximum (Laplace). Residuals are weighed as Student's t with `NU` degrees of freedom
(one wrong run pulls little), the sd of a trial grows with its excess (far from the optimum the form is wrong), and what
diverged says that the value was above the best one for its other values, nothing more.
"""

from __future__ import annotations

import math
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
# Curvature ~ N^fade: 0.1 at 600 to 24k parameters (check of the demo's rate), 0.01 at 2e8 and more, so -0.2; or none.
FADE = (-0.1, 0.15)
LEVEL_SD = 10.0  # of log loss: nothing is known
TOO_BAD = 0.1  # log loss above its cell's best: beyond what any form describes
EDGE_MARGIN, EDGE_SD = 0.1, 0.3  # what diverged lies this far above the best value
EDGE_WIDTH = 0.2  # of v: how sharp an edge is taken to be
STARTS, STEPS, ROUNDS = 5, 40, 5


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
    mean[surface.part("fade")], sd[surface.part("fade")] = FADE
    return mean, sd


@dataclass(frozen=True, kw_only=True, eq=False)
class Problem:
    """What the parameters are fitted to: trials, prior, and which quantities are too high where one diverged."""

    surface: Surface
    evidence: Evidence
    mean: Array
    sd: Array
    upward: Array

    def residuals(self, theta: Array, sd: Array) -> tuple[Array, Array]:
        """Standardised residuals (S, n) of the trials and their Jacobian (S, n, size) at `theta` (S, size).

        `sd` (S or 1, n) is held while theta moves: what predicts more must not gain by being expected to be less exact.
        """
        had = self.evidence
        excess, gradient, v, turned = self.surface.with_gradient(theta, had.x, had.place, had.cell)
        level = theta[:, : self.surface.cells][:, had.cell]
        residual, jacobian = (had.y - level - excess) / sd, -gradient / sd[..., None]
        if not had.done.all():
            short, by_theta = self._too_near(v, turned)
            residual = np.where(had.done, residual, short)
            jacobian = np.where(had.done[:, None], jacobian, by_theta)
        return residual, jacobian

    def spread(self, theta: Array, sigma: float) -> Array:
        """(S, n) sd of every trial's log loss about the surface at `theta`."""
        had = self.evidence
        excess, _, v, _ = self.surface.with_gradient(theta, had.x, had.place, had.cell)
        return np.sqrt(variance(sigma, np.maximum(excess, had.seen), v))

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

    def objective(self, theta: Array, sd: Array) -> Array:
        """(S) minus the log posterior for these sd, up to a constant."""
        residual, _ = self.residuals(theta, sd)
        t = 0.5 * (NU + 1) * np.log1p(residual**2 / NU)
        of_trials = np.where(self.evidence.done, t, 0.5 * residual**2).sum(-1)
        return of_trials + 0.5 * (((theta - self.mean) / self.sd) ** 2).sum(-1)


def variance(sigma: float, excess: Array, v: Array) -> Array:
    """Of a trial's log loss about the surface: noise, and the form's error, whose share grows with the distance `v`."""
    return sigma**2 + (FORM_ERROR * (1 + 0.5 * (v**2).sum(-1)) * excess) ** 2


def most_probable(problem: Problem) -> Posterior:
    """The maximum of the posterior, from several starts, with the noise found along the way."""
    theta, sigma = _starts(problem), NOISE
    sd = np.sqrt(variance(sigma, problem.evidence.seen, np.zeros((1, *problem.evidence.x.shape))))
    for _ in range(ROUNDS):
        theta = _minimised(problem, theta, sd)
        theta = theta[problem.objective(theta, sd).argmin()][None]
        covariance, sigma, dof = _about(problem, theta, sigma)
        sd = problem.spread(theta, sigma)
    covariance, *_ = _about(problem, theta, sigma)
    return Posterior(surface=problem.surface, theta=theta[0], covariance=covariance, sigma=sigma, dof=dof)


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


def _minimised(problem: Problem, theta: Array, sd: Array) -> Array:
    """Levenberg-Marquardt on reweighted squares from every row of `theta` at once."""
    damping, done, value = np.full(len(theta), 1e-3), np.zeros(len(theta), bool), problem.objective(theta, sd)
    precision = problem.sd**-2.0
    for _ in range(STEPS):
        residual, jacobian = problem.residuals(theta, sd)
        weighed = jacobian * problem.weights(residual)[..., None]
        slope = np.einsum("snp,sn->sp", weighed, residual) + (theta - problem.mean) * precision
        hessian = np.swapaxes(jacobian, 1, 2) @ weighed + np.diag(precision)
        diagonal = np.einsum("spp->sp", hessian)
        damped = hessian + damping[:, None, None] * diagonal[..., None] * np.eye(theta.shape[1])
        tried = theta - np.linalg.solve(damped, slope[..., None])[..., 0]
        found = problem.objective(tried, sd)
        better = found < value
        done |= np.where(better, value - found < 1e-6, damping > 1e3)
        theta, value = np.where(better[:, None], tried, theta), np.where(better, found, value)
        damping = np.clip(np.where(better, damping / 5, damping * 4), 1e-9, 1e9)
        if done.all():
            break
    return theta


def _about(problem: Problem, theta: Array, sigma: float) -> tuple[Array, float, float]:
    """Covariance at `theta` (1, size), a better sigma, and the degrees of freedom of what is linear in the parameters.

    A trial says as much about the noise as the noise is a part of its variance, less what the fit took from it. Where
    the width of the posterior comes from the prior it does not depend on sigma, and so is known (Satterthwaite 1946:
    degrees of freedom of sigma over the square of d ln variance / d ln sigma^2, here the largest of m, p and q).
    """
    sd = problem.spread(theta, sigma)
    residual, jacobian = (of[0] for of in problem.residuals(theta, sd))
    weights = problem.weights(residual)
    covariance = np.linalg.inv((jacobian.T * weights) @ jacobian + np.diag(problem.sd**-2.0))
    share = problem.evidence.done * sigma**2 / sd[0] ** 2
    seen = jacobian @ covariance  # (n, size)
    dof = NOISE_DOF + float((share * (1 - weights * (seen * jacobian).sum(-1))).sum())
    squares = NOISE_DOF * NOISE**2 + sigma**2 * float((share * weights * residual**2).sum())
    by_sigma = ((share * weights)[:, None] * seen**2).sum(0) / np.diag(covariance)
    moving = problem.surface.part("m").start, problem.surface.part("q").stop
    return covariance, math.sqrt(squares / dof), dof / float(by_sigma[slice(*moving)].max().clip(0.05, 1.0)) ** 2


def edges(posterior: Posterior, problem: Problem) -> Array:
    """(k) the v that best tells what diverged, or was far too bad, from the rest; infinite where nothing did."""
    had, surface = problem.evidence, problem.surface
    u = surface.offsets(posterior.theta, had.x, had.place, had.cell)
    v = u @ surface.turned(posterior.theta).T
    bad = ~had.done | (had.seen > TOO_BAD)
    found = np.full(surface.count, np.inf)
    for at in np.flatnonzero(problem.upward):
        above = v[:, at] > 0
        if (bad & above).any():
            tried = np.linspace(0, v[:, at].max(), 201)
            finishes = survival(v[above, at], tried[:, None])
            fits = np.log(np.where(bad[above], 1 - finishes, finishes) + 1e-12).sum(-1)
            found[at] = tried[fits > fits.max() - 1e-6].mean()
    return found


def survival(v: Array, edge: Array) -> Array:
    """How probably a training at `v` finishes."""
    return 1.0 / (1.0 + np.exp(np.clip((v - edge) / EDGE_WIDTH, -50, 50)))
