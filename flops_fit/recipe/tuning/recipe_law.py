"""RecipeLaw: the best recipe as power laws of N and D, how sure that is, and what it is expected to cost in loss."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from flops_fit.basics.arguments import Rule, need, number, one_of
from flops_fit.basics.diagnostic import Diagnostic
from flops_fit.basics.formatting import format_count, format_flops
from flops_fit.basics.from_json import from_json
from flops_fit.errors import StudyError
from flops_fit.recipe.tuning.posterior import survival
from flops_fit.recipe.tuning.surface import Array, skewed

SCHEMA = 1
DIVERGED = 0.1  # log loss that a divergence counts as


@dataclass(frozen=True, kw_only=True, eq=False)
class RecipeLaw:
    """For each tuned quantity: optimum = value_at_origin * (N/N0)^p * (D/D0)^q.

    Attributes:
        names: the tuned quantities.
        origin: N0 and D0, the middle of the cells tried.
        coefficients: (k, 3) ln value at the origin, p, q.
        covariance: (3k, 3k) of the coefficients row by row; `dof` degrees of freedom of Student's t.
        curvature, skew, fade, turned: (k), (k), one and (k, k): the surface's h, skew, fade and T (see `surface.py`).
        edge: (k) how far above the best value, in the logarithm, trainings diverged; None where none did.
        stray: sd of the logarithm of an optimum about the power law.
        noise: sd of log loss from one training to the next.
        low, high: (k) bounds; `value` stays within them.
        tried: number of trials; diverged: how many had no loss; flops: 6 N D summed over all.
        findings: what to know before the law is used.
    """

    names: tuple[str, ...]
    origin: tuple[float, float]
    coefficients: Array
    covariance: Array
    dof: float
    curvature: Array
    fade: float
    skew: Array
    turned: Array
    edge: tuple[float | None, ...]
    stray: float
    noise: float
    low: Array
    high: Array
    tried: int
    diverged: int
    flops: float
    findings: tuple[Diagnostic, ...] = field(default=())

    def optimum(self, name: str, num_params: float, num_tokens: float) -> float:
        """The power law of `name`: where the best value most probably lies; the bounds do not cut it."""
        return math.exp(self._log_optimum(self._at(name), num_params, num_tokens))

    def value(self, name: str, num_params: float, num_tokens: float) -> float:
        """The value of `name` to train with, within its bounds.

        The optimum, and less than that for what diverges when it is too high, as the optimum is not known exactly:
        the value with the lowest expected loss, a divergence counted as a loss that is 10 % higher.
        """
        at = self._at(name)
        lowered, _ = self._lowered(num_params, num_tokens)
        best = math.exp(self._log_optimum(at, num_params, num_tokens) - lowered[at])
        return float(np.clip(best, self.low[at], self.high[at]))

    def interval(self, name: str, num_params: float, num_tokens: float, level: float = 0.9) -> tuple[float, float]:
        """Where the best value lies with probability `level`; the bounds do not cut it."""
        at, row = self._at(name), self._row(num_params, num_tokens)
        middle = self._log_optimum(at, num_params, num_tokens)
        half = self._t(level) * math.sqrt(row @ self._block(at, at) @ row + self.stray**2)
        return math.exp(middle - half), math.exp(middle + half)

    def exponent(self, name: str, of: str, level: float = 0.9) -> tuple[float, float, float]:
        """Estimate and interval of the exponent of `num_params` or `num_tokens`."""
        _need("of", of, one_of("num_params", "num_tokens"))
        at, which = self._at(name), 1 + ("num_params", "num_tokens").index(of)
        middle = float(self.coefficients[at, which])
        half = self._t(level) * math.sqrt(self._block(at, at)[which, which])
        return middle, middle - half, middle + half

    def excess(self, values: Mapping[str, float], num_params: float, num_tokens: float) -> float:
        """Relative loss above the best that training with `values` costs there; what is not in them is at its best."""
        u = np.zeros(len(self.names))
        for name, value in values.items():
            at = self._at(name)
            _need(name, value, number(above=0))
            u[at] = math.log(value) - self._log_optimum(at, num_params, num_tokens)
        curvature = self._curvature(num_params)
        return float(np.expm1((curvature * skewed(self.turned @ u, self.skew)).sum()))

    def expected_excess(self, num_params: float, num_tokens: float) -> float:
        """Relative loss expected to be lost there with `value`, because the optimum is not known exactly."""
        return float(np.expm1(self._lowered(num_params, num_tokens)[1]))

    def _lowered(self, num_params: float, num_tokens: float) -> tuple[Array, float]:
        """(k) how far below the optimum each logarithm is best, and the expected log loss above the best."""
        sd, nodes, weights = self._sd_of_v(num_params, num_tokens), *np.polynomial.hermite_e.hermegauss(31)
        edge = np.array([math.inf if at is None else at for at in self.edge])
        down = np.isfinite(edge) * np.linspace(0, 3, 61)[:, None]  # (61, k), in sd
        v = sd[:, None] * (nodes - down[..., None])  # (61, k, 31)
        cost = self._curvature(num_params)[:, None] * skewed(v, self.skew[:, None])
        cost = cost + DIVERGED * (1 - survival(v, edge[:, None]))
        mean = (cost * weights).sum(-1) / weights.sum()
        best = mean.argmin(0)
        return down[best, range(len(sd))] * sd, float(mean.min(0).sum())

    def _curvature(self, num_params: float) -> Array:
        """(k) h for models of this size."""
        return self.curvature * (num_params / self.origin[0]) ** self.fade

    def _sd_of_v(self, num_params: float, num_tokens: float) -> Array:
        """(k) sd of the distance from the optimum along each of the surface's directions."""
        row, count = self._row(num_params, num_tokens), len(self.names)
        cov = np.array([[row @ self._block(i, j) @ row for j in range(count)] for i in range(count)])
        cov = (cov + self.stray**2 * np.eye(count)) * (self.dof / (self.dof - 2) if self.dof > 2.5 else 5.0)
        return np.sqrt(np.einsum("ij,jk,ik->i", self.turned, cov, self.turned))

    def summary(self) -> str:
        """Trials, each rule with 90 % intervals, and the findings, as plain text."""
        N, D = self.origin
        lines = [
            "Recipe law   optimum = value * (N/N0)^p * (D/D0)^q",
            f"  trials     {self.tried}, {self.diverged} of them diverged, {format_flops(self.flops)} FLOPs",
            f"  origin     N0 = {format_count(N)}, D0 = {format_count(D)}",
            f"  noise      {self.noise:.2%} of the loss",
            "",
            "                        value at origin                 p                     q    (90 % intervals)",
        ]
        lines += [self._line(name) for name in self.names]
        lines += [f"  {finding.severity}: {finding.message}; {finding.remedy}" for finding in self.findings]
        return "\n".join(lines)

    def _line(self, name: str) -> str:
        low, high = self.interval(name, *self.origin)
        text = f"  {name:<16} {self.value(name, *self.origin):>10.4g}  [{low:.3g}, {high:.3g}]"
        for of in ("num_params", "num_tokens"):
            middle, least, most = self.exponent(name, of)
            text += f"   {middle:>6.3f}  [{least:.2f}, {most:.2f}]"
        return text

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        plain = {name: value.tolist() if isinstance(value, np.ndarray) else value for name, value in vars(self).items()}
        findings = [asdict(finding) for finding in self.findings]
        return {
            "schema": SCHEMA,
            **plain,
            "names": [*self.names],
            "edge": [*self.edge],
            "origin": [*self.origin],
            "findings": findings,
        }

    @classmethod
    def from_dict(cls, content: Any) -> RecipeLaw:
        """The law that `to_dict` wrote; raises `FileError` for anything else."""
        return from_json(cls, content, "recipe law", without=("schema",))

    def _at(self, name: str) -> int:
        _need("name", name, one_of(*self.names))
        return self.names.index(name)

    def _row(self, num_params: float, num_tokens: float) -> Array:
        _need("num_params", num_params, number(above=0))
        _need("num_tokens", num_tokens, number(above=0))
        return np.array([1.0, math.log(num_params / self.origin[0]), math.log(num_tokens / self.origin[1])])

    def _block(self, i: int, j: int) -> Array:
        return self.covariance[3 * i : 3 * i + 3, 3 * j : 3 * j + 3]

    def _log_optimum(self, at: int, num_params: float, num_tokens: float) -> float:
        return float(self.coefficients[at] @ self._row(num_params, num_tokens))

    def _t(self, level: float) -> float:
        from scipy.special import stdtrit

        _need("level", level, number(above=0, below=1))
        return float(stdtrit(self.dof, 0.5 + level / 2))


def _need(name: str, value: Any, rule: Rule) -> None:
    need(name, value, rule, StudyError)
