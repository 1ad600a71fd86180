"""Studies of a law that bends: `L = E + (A/N^alpha + B/D^beta)^gamma`, which no five-parameter law is."""

import numpy as np

from flops_fit.synthetic import REPLICATION, synthetic_runs

GAMMA = 0.5
E, A, B = REPLICATION.E, REPLICATION.A ** (1 / GAMMA), REPLICATION.B ** (1 / GAMMA)
ALPHA, BETA = REPLICATION.alpha / GAMMA, REPLICATION.beta / GAMMA
MEMBER = np.array([E, A, B, ALPHA, BETA, GAMMA])


def bent_loss(num_params, num_tokens):
    """The true loss."""
    N, D = np.asarray(num_params, dtype=float), np.asarray(num_tokens, dtype=float)
    return E + (A * N**-ALPHA + B * D**-BETA) ** GAMMA


def bent_optimum(compute):
    """The true N_opt with 6·N·D FLOPs: gamma moves no optimum (Hoffmann et al. 2022, equation 4)."""
    return (ALPHA * A / (BETA * B)) ** (1 / (ALPHA + BETA)) * (compute / 6) ** (BETA / (ALPHA + BETA))


def bent_runs(budgets=8, sizes=9, noise=0.001, seed=0, span=8.0):
    """An IsoFLOP study of it, 1e18 to 1e20 FLOPs."""
    return synthetic_runs(
        compute_budgets=np.geomspace(1e18, 1e20, budgets),
        sizes_per_budget=sizes,
        span=span,
        noise=noise,
        seed=seed,
        transform=lambda N, D, _: bent_loss(N, D),
    )
