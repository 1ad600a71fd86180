"""Forecasts by hand, and runs whose minimum is known without any fit."""

import numpy as np
import pandas as pd

from flops_fit import Forecast
from flops_fit.scaling_law.forecasts.sealed import Answer, CurvePoint, Target
from flops_fit.synthetic import CHINCHILLA

CURVATURE = 0.02  # nats per (ln N)^2


def target(compute=1e21, N=1e9, loss=2.5, level=0.01, law=CHINCHILLA):
    """N_opt and loss as given, with intervals of a factor 1.1 in N and `level` in the loss; runs as `law` has them."""
    sizes = (N * 8.0 ** np.linspace(-1, 1, 9)).tolist()
    return Target(
        compute=compute,
        N_opt=Answer(value=N, low=N / 1.1, high=N * 1.1),
        D_opt=Answer(value=compute / (6 * N), low=compute / (6.6 * N), high=1.1 * compute / (6 * N)),
        L_opt=Answer(value=loss, low=loss * (1 - level), high=loss * (1 + level)),
        verdicts={"N_opt": "trustworthy", "D_opt": "trustworthy", "loss": "provisional"},
        exponent=law.a,
        curve=tuple(_point(law, size, compute / (6 * size), level) for size in sizes),
    )


def _point(law, N, D, level):
    loss = float(law.loss(N, D))
    slope = -law.beta * law.B * D**-law.beta / loss  # d ln L / d ln D of E + A/N^alpha + B/D^beta
    return CurvePoint(
        N=N, D=D, new_run=Answer(value=loss, low=loss * (1 - level), high=loss * (1 + level)), slope=float(slope)
    )


def forecast(*targets, made="2026-01-31T12:00:00+00:00", law="a law", witnesses=(), level=0.9):
    """A forecast from runs up to 1e20 FLOPs."""
    return Forecast(
        made=made, level=level, targets=targets or (target(),), runs=30, largest_compute=1e20, data_version="runs",
        law_version=law, witnesses=tuple(witnesses), version="0.1.0",
    )  # fmt: skip


def valley(N=1e9, loss=2.5, compute=1e21, sizes=5, span=3.0):
    """Runs of one budget on an exact parabola in ln N, whose minimum is (N, loss); nobody trained one in the middle."""
    steps = np.linspace(-1, 1, 2 * sizes + 1)[1::2]
    num_params = N * span**steps
    return pd.DataFrame(
        {
            "num_params": num_params,
            "num_tokens": compute / (6 * num_params),
            "flops": compute,
            "compute_budget": compute,
            "loss": loss + CURVATURE * np.log(num_params / N) ** 2,
        }
    )
