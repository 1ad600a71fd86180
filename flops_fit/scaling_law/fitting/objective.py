"""The objective of the parametric law, with its exact gradient and Hessian, for many parameter vectors at once.

Parameters are `theta = (log E, log A', log B', alpha, beta)` where A' and B' belong to centred logarithms
`n = ln N - mean(ln N)`, `d = ln D - mean(ln D)`: `L(N, D) = E + A' exp(-alpha n) + B' exp(-beta d)`. The objective is
the sum over runs of `weight · Huber_delta(ln L_pred - ln L)` (Hoffmann et al. 2022, equation 3).
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field, replace

import numpy as np

PARAMETERS = ("E", "A", "B", "alpha", "beta")
MAX_EXPONENT = 5.0
MIN_EXPONENT = 1e-6
MIN_LOG_E = -30.0  # below this E changes no loss in double precision: "E = 0"
LOWER = np.array([MIN_LOG_E, -60.0, -60.0, MIN_EXPONENT, MIN_EXPONENT])
UPPER = np.array([60.0, 60.0, 60.0, MAX_EXPONENT, MAX_EXPONENT])
LARGE = 2000  # runs beyond which a search begins on a sample and resamples are one step each (`one_step`)


@dataclass(frozen=True, kw_only=True)
class Centred:
    """Runs as the objective sees them: centred logs, each of shape (runs,), and the limits of theta, (5,) each."""

    n: np.ndarray
    d: np.ndarray
    log_loss: np.ndarray
    n_mean: float
    d_mean: float
    lower: np.ndarray = field(default_factory=lambda: LOWER)
    upper: np.ndarray = field(default_factory=lambda: UPPER)

    @property
    def held(self) -> bool:
        """Whether any parameter is held at a value or to a range."""
        return bool((self.lower != LOWER).any() or (self.upper != UPPER).any())

    @property
    def free(self) -> np.ndarray:
        """Which parameters are not held at a value, (5,) bool."""
        return self.lower < self.upper

    def subset(self, keep: np.ndarray) -> Centred:
        """The runs at `keep`, centred as before."""
        return replace(self, n=self.n[keep], d=self.d[keep], log_loss=self.log_loss[keep])


def sample(data: Centred) -> np.ndarray:
    """Indices of at most `LARGE` runs, spread evenly over compute and size, on which a search begins."""
    order = np.lexsort((data.n, (data.n + data.d).round(6)))
    return np.sort(order[np.linspace(0, len(order) - 1, min(LARGE, len(order))).astype(int)])


def centre(
    num_params: np.ndarray,
    num_tokens: np.ndarray,
    loss: np.ndarray,
    *,
    lower: np.ndarray = LOWER,
    upper: np.ndarray = UPPER,
    as_they_are: Collection[str] = (),
) -> Centred:
    """Centred logarithms of N and D, and log loss; ln N (ln D) as it is where A (B) is among `as_they_are`."""
    log_n, log_d = np.log(num_params), np.log(num_tokens)
    n_mean = 0.0 if "A" in as_they_are else float(log_n.mean())
    d_mean = 0.0 if "B" in as_they_are else float(log_d.mean())
    return Centred(
        n=log_n - n_mean,
        d=log_d - d_mean,
        log_loss=np.log(loss),
        n_mean=n_mean,
        d_mean=d_mean,
        lower=lower,
        upper=upper,
    )


def residuals(theta: np.ndarray, data: Centred) -> np.ndarray:
    """`ln L_pred - ln L`, shape (starts, runs) for `theta` of shape (starts, 5)."""
    term_n = np.exp(theta[:, 1:2] - theta[:, 3:4] * data.n)
    term_d = np.exp(theta[:, 2:3] - theta[:, 4:5] * data.d)
    return np.log(np.exp(theta[:, :1]) + term_n + term_d) - data.log_loss


def jacobian(theta: np.ndarray, data: Centred) -> np.ndarray:
    """d ln L_pred / d theta, shape (runs, 5), for one `theta` of shape (5,)."""
    return np.moveaxis(prediction(theta[None], data)[1][0], 0, -1)


def free_columns(columns: np.ndarray, data: Centred) -> np.ndarray:
    """Those of (..., 5) that belong to parameters which are not held at a value."""
    return columns if data.free.all() else columns[..., data.free]


def huber(residual: np.ndarray, delta: float | np.ndarray) -> np.ndarray:
    """`r²/2` up to delta, `delta·(|r| - delta/2)` beyond."""
    size = np.abs(residual)
    inner = np.minimum(size, delta)
    return inner * (size - inner / 2)


def objective(theta: np.ndarray, data: Centred, weights: np.ndarray, delta: float | np.ndarray) -> np.ndarray:
    """Objective values, shape (starts,); `weights` has shape (runs,) or (starts, runs)."""
    return np.asarray((weights * huber(residuals(theta, data), delta)).sum(axis=1))


def derivatives(
    theta: np.ndarray, data: Centred, weights: np.ndarray, delta: float | np.ndarray, blend: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Value (starts,), gradient (starts, 5) and Hessian (starts, 5, 5) of the objective.

    `blend` (starts,) mixes Huber's own second derivative (0: Newton) with the majorising weight psi(r)/r
    (1: iteratively reweighted least squares). With fractions p = (E, A-term, B-term)/L and u linear in theta, the
    second derivative of `ln L` is `diag(p) - p pᵀ`, hence H = Jᵀ(psi' - psi)J + the blocks of `psi·diag(p)`.
    """
    residual, jacobian = prediction(theta, data)
    size = np.abs(residual)
    inner = np.minimum(size, delta)
    value = np.einsum("sr,sr->s", inner * (size - 0.5 * inner), np.broadcast_to(weights, size.shape))
    psi = np.clip(residual, -delta, delta) * weights
    curvature = np.where(size <= delta, 1.0, blend[:, None] * (inner / np.maximum(size, 1e-300))) * weights
    weighted = jacobian * psi[:, None, :]
    gradient = weighted.sum(axis=2)
    hessian = (jacobian * (curvature - psi)[:, None, :]) @ jacobian.transpose(0, 2, 1)
    cross_n, cross_d = -(weighted[:, 3] @ data.n), -(weighted[:, 4] @ data.d)
    for k in range(3):
        hessian[:, k, k] += gradient[:, k]
    for k, cross in ((1, cross_n), (2, cross_d)):
        hessian[:, k, k + 2] += gradient[:, k + 2]
        hessian[:, k + 2, k] += gradient[:, k + 2]
        hessian[:, k + 2, k + 2] += cross
    return value, gradient, hessian


def to_parameters(theta: np.ndarray, data: Centred) -> np.ndarray:
    """(E, A, B, alpha, beta) of shape (starts, 5) from theta; A and B are for N and D themselves."""
    log_e, log_a, log_b, alpha, beta = theta.T
    with np.errstate(over="ignore"):
        terms = np.exp([log_e, log_a + alpha * data.n_mean, log_b + beta * data.d_mean])
    return np.column_stack([*terms, alpha, beta])


def from_parameters(parameters: np.ndarray, data: Centred) -> np.ndarray:
    """The inverse of `to_parameters`."""
    E, A, B, alpha, beta = np.atleast_2d(parameters).T
    log_a, log_b = np.log(A) - alpha * data.n_mean, np.log(B) - beta * data.d_mean
    return np.column_stack([np.log(np.maximum(E, 1e-12)), log_a, log_b, alpha, beta])


def prediction(theta: np.ndarray, data: Centred) -> tuple[np.ndarray, np.ndarray]:
    """Residuals (starts, runs) and the Jacobian of `ln L_pred`, (starts, 5, runs)."""
    term_n = np.exp(theta[:, 1:2] - theta[:, 3:4] * data.n)
    term_d = np.exp(theta[:, 2:3] - theta[:, 4:5] * data.d)
    term_e = np.exp(theta[:, :1])
    total = term_n + term_d
    total += term_e
    jacobian = np.empty((len(theta), 5, len(data.n)))
    np.divide(term_e, total, out=jacobian[:, 0])
    np.divide(term_n, total, out=jacobian[:, 1])
    np.divide(term_d, total, out=jacobian[:, 2])
    np.multiply(jacobian[:, 1], -data.n, out=jacobian[:, 3])
    np.multiply(jacobian[:, 2], -data.d, out=jacobian[:, 4])
    return np.log(total) - data.log_loss, jacobian
