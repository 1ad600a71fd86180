"""The response surface: log loss over the tuned values, about an optimum that moves as powers of N and D.

    log loss = level[cell] + (N/N0)^fade * sum_j h_j v_j^2/2 * exp(skew_j v_j / sqrt(1 + v_j^2))
    v_j = u_j - sum_{i > j} c_ji u_i
    u_j = ln value_j - (m_j + p_j ln(N/N0) + q_j ln(D/D0) + stray_j[cell])

A sum of skewed parabolas, each about the best value given those after it (the rate given the batch). `skew` is the
asymmetry: the curvature far above over that far below is exp(2 skew). `c` turns the valley: the best rate for a given
batch moves as batch^c. `stray` is how far a cell's own optimum is off the power law, which no real optimum follows
exactly. `fade` is how the curvature of all quantities changes with the size: small models lose more by a wrong value.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

Array = np.ndarray


@dataclass(frozen=True, kw_only=True)
class Surface:
    """Where the parameters of `count` tuned quantities and `cells` levels lie in one vector.

    In order: levels (cells), then for all quantities m, p, q, ln h, skew, then c by pairs j < i, stray by cells, fade.
    """

    count: int
    cells: int

    @property
    def size(self) -> int:
        """Number of parameters."""
        return self.part("fade").stop

    def part(self, name: str) -> slice:
        """Where `m`, `p`, `q`, `log_h`, `skew`, `c`, `stray` or `fade` lie."""
        lengths = dict.fromkeys(("m", "p", "q", "log_h", "skew"), self.count)
        lengths |= {"c": self.count * (self.count - 1) // 2, "stray": self.cells * self.count, "fade": 1}
        before = [*lengths].index(name)
        start = self.cells + sum([*lengths.values()][:before])
        return slice(start, start + lengths[name])

    def turned(self, theta: Array) -> Array:
        """(..., count, count) upper triangular T with v = T u."""
        turned = np.zeros((*theta.shape[:-1], self.count, self.count))
        turned[..., range(self.count), range(self.count)] = 1.0
        rows, columns = np.triu_indices(self.count, 1)
        turned[..., rows, columns] = -theta[..., self.part("c")]
        return turned

    def offsets(self, theta: Array, x: Array, place: Array, cell: Array) -> Array:
        """u (..., n, k) of trials.

        Args:
            theta: (..., size). x: (n, k) logarithms of the values. place: (n, 2) ln N/N0 and ln D/D0.
            cell: (n) which level and stray each has.
        """
        m, p, q = (theta[..., None, self.part(name)] for name in "mpq")
        stray = theta[..., self.part("stray")].reshape(*theta.shape[:-1], self.cells, self.count)
        return x - m - p * place[:, :1] - q * place[:, 1:] - stray[..., cell, :]

    def with_gradient(self, theta: Array, x: Array, place: Array, cell: Array) -> tuple[Array, Array, Array, Array]:
        """Excess (..., n), gradient of log loss (..., n, size), v (..., n, k) and T (..., k, k)."""
        u, turned = self.offsets(theta, x, place, cell), self.turned(theta)
        v = u @ np.swapaxes(turned, -1, -2)
        h = np.exp(theta[..., None, self.part("log_h")] + theta[..., None, self.part("fade")] * place[:, :1])
        skew = theta[..., None, self.part("skew")]
        value, by_v, by_skew = _derivatives(v, skew)
        gradient = self.moved_by(-(h * by_v) @ turned, place, cell)
        gradient[..., range(len(cell)), cell] = 1.0
        gradient[..., self.part("log_h")] = h * value
        gradient[..., self.part("skew")] = h * by_skew
        rows, columns = np.triu_indices(self.count, 1)
        gradient[..., self.part("c")] = -(h * by_v)[..., rows] * u[..., columns]
        excess = (h * value).sum(-1)
        gradient[..., self.part("fade")] = excess[..., None] * place[:, :1]
        return excess, gradient, v, turned

    def moved_by(self, slope: Array, place: Array, cell: Array) -> Array:
        """(..., n, size) derivatives of what has the derivatives `slope` (..., n, k) by the optimum of each trial."""
        gradient = np.zeros((*slope.shape[:-1], self.size))
        for name, factor in (("m", 1.0), ("p", place[:, :1]), ("q", place[:, 1:])):
            gradient[..., self.part(name)] = slope * factor
        own = (cell[:, None] == np.arange(self.cells))[:, :, None] * slope[..., None, :]  # (..., n, cells, k)
        gradient[..., self.part("stray")] = own.reshape(*own.shape[:-2], -1)
        return gradient


def skewed(v: Array, skew: Array) -> Array:
    """The skewed parabola with curvature 1 at v = 0."""
    return 0.5 * v**2 * np.exp(skew * v / np.sqrt(1.0 + v**2))


def _derivatives(v: Array, skew: Array) -> tuple[Array, Array, Array]:
    """The skewed parabola and its derivatives by v and by skew."""
    root = np.sqrt(1.0 + v**2)
    factor = np.exp(skew * v / root)
    value = 0.5 * v**2 * factor
    return value, factor * v + value * skew / root**3, value * v / root
