"""FLOPs per token as a function of N, learned from the runs, and the compute-optimal N under it.

Where FLOPs are 6·N·D this is `6 N`. Otherwise `f(N) = c·N·(1 + k·(N/N_0)^-q)`: proportional to N for large models
(matrix products), with what does not grow so fast (embeddings, attention over a fixed context) fading as N^-q.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

SIX_N_TOLERANCE = 2e-3
MAX_LOG_N = 150.0  # where exponents run away N_opt ends here rather than at 0 or infinity
FADES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)


@dataclass(frozen=True, kw_only=True)
class FlopsPerToken:
    """`f(N) = c·N·(1 + k·(N/N_0)^-q)` FLOPs per token; `k = 0` is proportional, and `c = 6` the usual 6·N.

    Attributes:
        misfit: root mean square of `ln(flops/(f(N)·D))` over the runs.
    """

    c: float = 6.0
    k: float = 0.0
    q: float = 0.5
    N_0: float = 1.0
    misfit: float = 0.0

    @property
    def description(self) -> str:
        """The convention in words."""
        if self.k == 0.0:
            return "6·N FLOPs per token" if self.c == 6.0 else f"{self.c:.3g}·N FLOPs per token, learned from the runs"
        return (
            f"{self.c:.3g}·N·(1 {self.k:+.3g}·(N/{self.N_0:.3g})^-{self.q:g}) FLOPs per token, learned from the runs "
            f"(they deviate from it by {100 * self.misfit:.2g} %)"
        )

    def __call__(self, num_params: np.ndarray | float) -> np.ndarray:
        """FLOPs per token at N parameters."""
        N = np.asarray(num_params, dtype=float)
        if self.k == 0.0:
            return self.c * N
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):  # N of a runaway bootstrap draw
            return self.c * N * np.maximum(1 + self.k * (N / self.N_0) ** -self.q, 0.02)

    def elasticity(self, num_params: np.ndarray | float) -> np.ndarray:
        """d ln f / d ln N."""
        if self.k == 0.0:
            return np.ones_like(np.asarray(num_params, dtype=float))
        with np.errstate(divide="ignore", over="ignore"):
            extra = self.k * (np.asarray(num_params, dtype=float) / self.N_0) ** -self.q
        return np.maximum(1 - self.q * extra / np.maximum(1 + extra, 0.02), 0.05)


def learn_flops_per_token(num_params: np.ndarray, num_tokens: np.ndarray, flops: np.ndarray) -> FlopsPerToken:
    """The simplest form that the runs support, arrays of shape (runs,): 6·N, then c·N, then with a fading term."""
    ratio = flops / (num_params * num_tokens)
    if np.abs(np.log(ratio / 6)).max() < SIX_N_TOLERANCE:
        return FlopsPerToken()
    c = float(np.exp(np.median(np.log(ratio))))
    plain = FlopsPerToken(c=c, misfit=_misfit(np.log(ratio / c)))
    if plain.misfit < SIX_N_TOLERANCE or np.ptp(np.log(num_params)) < 0.5:
        return plain
    N_0 = float(np.exp(np.log(num_params).mean()))
    fading = [_fading(num_params, ratio, q, N_0) for q in FADES]
    best = min(fading, key=lambda model: model.misfit)
    return best if best.misfit < 0.5 * plain.misfit and best.c > 0 else plain


def _fading(num_params: np.ndarray, ratio: np.ndarray, q: float, N_0: float) -> FlopsPerToken:
    columns = np.column_stack([np.ones_like(ratio), (num_params / N_0) ** -q]) / ratio[:, None]
    (c, slope), *_ = np.linalg.lstsq(columns, np.ones_like(ratio), rcond=None)
    if c <= 0:
        return FlopsPerToken(c=-1.0, misfit=np.inf)
    fitted = FlopsPerToken(c=float(c), k=float(slope / c), q=q, N_0=N_0)
    misfit = _misfit(np.log(ratio * num_params / fitted(num_params)))
    return FlopsPerToken(c=fitted.c, k=fitted.k, q=q, N_0=N_0, misfit=misfit)


def _misfit(log_ratio: np.ndarray) -> float:
    return float(np.sqrt(np.mean(log_ratio**2)))


def optimal_params(parameters: np.ndarray, compute: np.ndarray | float, flops_per_token: FlopsPerToken) -> np.ndarray:
    """N minimising `E + A/N^alpha + B/D^beta` with `D = C/f(N)`, shape of `parameters[..., 0]` against `compute`.

    Stationarity: `alpha·A·N^-alpha = beta·B·D^-beta·(d ln f/d ln N)`; with f = c·N that is Hoffmann et al. 2022,
    equation 4, in closed form, and otherwise its fixed point.
    """
    _, A, B, alpha, beta = np.moveaxis(np.asarray(parameters, dtype=float), -1, 0)
    log_c = np.log(np.asarray(compute, dtype=float))
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        balance = np.log(alpha * A) - np.log(beta * B)
        log_n = (balance + beta * (log_c - np.log(flops_per_token.c))) / (alpha + beta)
        log_n = np.clip(log_n, -MAX_LOG_N, MAX_LOG_N)
        if flops_per_token.k == 0.0:
            return np.exp(log_n)
        for _ in range(60):
            N = np.exp(log_n)
            slope = flops_per_token.elasticity(N)
            log_d = log_c - np.log(flops_per_token(N))
            change = (balance - alpha * log_n + beta * log_d - np.log(slope)) / (alpha + beta * slope)
            log_n = np.clip(log_n + change, -MAX_LOG_N, MAX_LOG_N)
            if np.nanmax(np.abs(change)) < 1e-13:
                break
    return np.exp(log_n)
