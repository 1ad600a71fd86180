"""What the checks look at: the runs, the fit, and what is derived from them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from flops_fit.scaling_law.approaches.isoflop import IsoflopMinimum
from flops_fit.scaling_law.checks.holdout import Holdout
from flops_fit.scaling_law.fitting.newton import at_zero
from flops_fit.scaling_law.fitting.objective import LARGE, free_columns, jacobian, to_parameters
from flops_fit.scaling_law.fitting.parametric import ParametricFit
from flops_fit.scaling_law.fitting.uncertainty import linearised, percentile_interval, refit
from flops_fit.scaling_law.flops_per_token import FlopsPerToken, optimal_params
from flops_fit.scaling_law.mixture import as_members, mixed_optimum
from flops_fit.scaling_law.table.runs import Runs

MOST_LEFT_OUT = 300


@dataclass(frozen=True, kw_only=True, eq=False)
class Evidence:
    """`fit` is the law's own fit, `other` its alternative (plain for weighted and the reverse; None with few runs).

    `members` are the laws that answer where the runs bend; `bend_chance` is that of the residuals if they do not (None:
    not tested), and `misfit_measured` whether left-out budgets say what the bend does to answers.
    """

    runs: Runs
    fit: ParametricFit
    other: ParametricFit | None
    minima: tuple[IsoflopMinimum, ...]
    flops_per_token: FlopsPerToken
    draws: np.ndarray
    holdout: Holdout | None
    members: np.ndarray | None = None
    bend_chance: float | None = None
    misfit_measured: bool = False

    @property
    def far(self) -> float:
        """Compute that answers are judged at: 100 times the largest run's FLOPs."""
        return 100 * float(self.runs.flops.max())

    @property
    def standardised(self) -> np.ndarray:
        """`ln L - ln L_pred` over its robust scale, shape (runs,)."""
        return -self.fit.residual / (self.fit.scale * max(self.fit.sigma, 1e-12))

    def N_opt(self, compute: float) -> float:
        """N_opt at C FLOPs of what answers."""
        members = as_members(self.fit.parameters) if self.members is None else self.members
        return float(mixed_optimum(members, compute, self.flops_per_token))

    def log_N_opt(self, parameters: np.ndarray) -> np.ndarray:
        """ln N_opt far out, for parameters of shape (..., 5)."""
        with np.errstate(all="ignore"):
            return np.log(optimal_params(parameters, self.far, self.flops_per_token))

    def log_N_interval(self) -> tuple[float, float]:
        """90 % bootstrap interval of ln N_opt far out."""
        return percentile_interval(self.log_N_opt(self.draws), 0.9)

    def leave_one_out(self) -> np.ndarray:
        """Change of ln N_opt far out when each configuration is left out, shape (configurations,): exact, for the 300
        with the most leverage on a misfit where there are more (0 for the others); one Newton step in large tables."""
        if len(self.runs) > LARGE:
            theta = at_zero(linearised(self.fit).without_each(self.runs.cluster), self.fit.data)
            return self.log_N_opt(to_parameters(theta, self.fit.data)) - float(self.log_N_opt(self.fit.parameters))
        tried = np.sort(np.argsort(-self._pull())[:MOST_LEFT_OUT])
        counts = (self.runs.cluster[None, :] != tried[:, None]).astype(float)
        change = np.zeros(int(self.runs.cluster.max()) + 1)
        change[tried] = self.log_N_opt(refit(self.fit, counts)) - float(self.log_N_opt(self.fit.parameters))
        return change

    def _pull(self) -> np.ndarray:
        """Leverage times bounded misfit, summed by configuration, shape (configurations,)."""
        scaled = self.fit_jacobian()
        spread = np.linalg.pinv(scaled.T @ scaled, hermitian=True)
        leverage = np.sqrt(np.maximum(np.einsum("rk,kl,rl->r", scaled, spread, scaled), 0))
        misfit = np.minimum(np.abs(self.fit.residual) / self.fit.scale, self.fit.delta)
        return np.bincount(self.runs.cluster, weights=leverage * misfit)

    def information_condition(self) -> float:
        """Condition number of the information matrix of (ln E, ln A', ln B', alpha, beta), unit diagonal, of those
        that are not held."""
        scaled = self.fit_jacobian()
        if scaled.shape[1] < 2:
            return 1.0
        unit = scaled / np.maximum(np.linalg.norm(scaled, axis=0), 1e-150)
        return float(np.linalg.cond(unit.T @ unit))

    def fit_jacobian(self) -> np.ndarray:
        """d ln L_pred / d theta over the residual scale, shape (runs, 5) or fewer where parameters are held."""
        return free_columns(jacobian(self.fit.theta, self.fit.data), self.fit.data) / self.fit.scale[:, None]
