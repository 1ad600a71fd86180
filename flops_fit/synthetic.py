"""A known law turned into runs: for tests, power calculations and planning a study before paying for it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from flops_fit.errors import FitError

NOISES = ("gaussian", "t3", "outliers")


@dataclass(frozen=True, kw_only=True)
class KnownLaw:
    """`L(N, D) = E + A/N^alpha + B/D^beta` in nats, with `flops_per_param_per_token` FLOPs per parameter and token."""

    E: float
    A: float
    B: float
    alpha: float
    beta: float
    flops_per_param_per_token: float = 6.0

    def loss(self, num_params: np.ndarray | float, num_tokens: np.ndarray | float) -> np.ndarray:
        """Noise-free loss at N parameters and D tokens."""
        N, D = np.asarray(num_params, dtype=float), np.asarray(num_tokens, dtype=float)
        return self.E + self.A * N**-self.alpha + self.B * D**-self.beta

    def N_opt(self, compute: np.ndarray | float) -> np.ndarray:
        """Compute-optimal parameters at C FLOPs (Hoffmann et al. 2022, equation 4)."""
        G = (self.alpha * self.A / (self.beta * self.B)) ** (1 / (self.alpha + self.beta))
        C = np.asarray(compute, dtype=float) / self.flops_per_param_per_token
        return G * C ** (self.beta / (self.alpha + self.beta))

    def D_opt(self, compute: np.ndarray | float) -> np.ndarray:
        """Compute-optimal tokens at C FLOPs."""
        return np.asarray(compute, dtype=float) / (self.flops_per_param_per_token * self.N_opt(compute))

    @property
    def a(self) -> float:
        """Exponent of N_opt in C."""
        return self.beta / (self.alpha + self.beta)


CHINCHILLA = KnownLaw(E=1.6934, A=406.4, B=410.7, alpha=0.3392, beta=0.2849)  # Hoffmann et al. 2022
REPLICATION = KnownLaw(E=1.8172, A=482.01, B=2085.43, alpha=0.3478, beta=0.3658)  # Besiroglu et al. 2024
SYMMETRIC = KnownLaw(E=1.8, A=1000.0, B=1000.0, alpha=0.35, beta=0.35)
DATA_HEAVY = KnownLaw(E=1.7, A=120.0, B=6000.0, alpha=0.26, beta=0.42)
MODEL_HEAVY = KnownLaw(E=1.7, A=3000.0, B=200.0, alpha=0.45, beta=0.27)


def synthetic_runs(
    law: KnownLaw = REPLICATION,
    *,
    compute_budgets: Sequence[float] = (1e18, 3.16e18, 1e19, 3.16e19, 1e20),
    sizes_per_budget: int = 7,
    span: float = 4.0,
    off_centre: float | Sequence[float] = 1.0,
    noise: float = 0.0,
    noise_kind: str = "gaussian",
    outlier_fraction: float = 0.05,
    outlier_scale: float = 10.0,
    broken_fraction: float = 0.0,
    seeds: int = 1,
    seed: int = 0,
    transform: Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray] | None = None,
) -> pd.DataFrame:
    """Runs of an IsoFLOP study under `law`, one row each, with the columns of the runs table.

    Args:
        span: sizes run from N_opt/span to N_opt·span, even in log N.
        off_centre: factor by which the grid's centre misses N_opt, one for all budgets or one each.
        noise: standard deviation of the noise on log loss (its scale for "t3"; of the good runs for "outliers").
        noise_kind: "gaussian", "t3" (Student, 3 degrees of freedom) or "outliers" (a fraction `outlier_fraction`
            has `outlier_scale` times the noise).
        broken_fraction: runs that end as diverged, with NaN loss, or with a loss luckily low by 5 %, in turn.
        seeds: repetitions of every run with fresh noise.
        transform: `(N, D, loss) -> loss`, a departure from the law.

    Raises `FitError` for an unknown kind of noise.
    """
    generator = np.random.default_rng(seed)
    budgets = np.asarray(compute_budgets, dtype=float)
    centres = law.N_opt(budgets) * np.asarray(off_centre, dtype=float)
    steps = np.linspace(-1, 1, sizes_per_budget) if sizes_per_budget > 1 else np.zeros(1)
    N = (centres[:, None] * span ** steps[None, :]).ravel()
    C = np.repeat(budgets, sizes_per_budget)
    N, C = np.tile(N, seeds), np.tile(C, seeds)
    D = C / (law.flops_per_param_per_token * N)
    clean = law.loss(N, D)
    if transform is not None:
        clean = transform(N, D, clean)
    loss = clean * np.exp(noise * draw_noise(noise_kind, len(N), generator, outlier_fraction, outlier_scale))
    table = pd.DataFrame(
        {
            "experiment_id": [f"synthetic-{index:04d}" for index in range(len(N))],
            "compute_budget": C,
            "num_params": N,
            "num_tokens": D,
            "flops": C,
            "loss": loss,
            "status": "completed",
            "seed": np.repeat(np.arange(seeds), len(N) // seeds),
        }
    )
    return _break_some(table, broken_fraction, generator)


def draw_noise(
    kind: str, count: int, generator: np.random.Generator, outlier_fraction: float = 0.05, outlier_scale: float = 10.0
) -> np.ndarray:
    """Noise of unit scale, shape (count,)."""
    if kind == "gaussian":
        return generator.standard_normal(count)
    if kind == "t3":
        return generator.standard_t(3, count)
    if kind == "outliers":
        scale = np.where(generator.random(count) < outlier_fraction, outlier_scale, 1.0)
        return generator.standard_normal(count) * scale
    raise FitError(f"noise_kind = {kind!r} is unknown; give one of {', '.join(NOISES)}")


def _break_some(table: pd.DataFrame, fraction: float, generator: np.random.Generator) -> pd.DataFrame:
    chosen = generator.permutation(len(table))[: round(fraction * len(table))]
    loss, status = table["loss"].to_numpy().copy(), table["status"].to_numpy(dtype=object).copy()
    for turn, row in enumerate(chosen):
        kind = turn % 3
        loss[row] = loss[row] * 0.95 if kind == 2 else np.nan
        status[row] = "diverged" if kind == 0 else "completed"
    return table.assign(loss=loss, status=status)
