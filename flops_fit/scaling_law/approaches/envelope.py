"""Approach 1: the lower envelope of training curves (Hoffmann et al. 2022, section 3.1).

Every training passes through many (compute, loss) points on its way. Which model is lowest at a given compute says how
large the optimal one is there. Points on the way were not trained with a schedule that ends there, so the envelope
lies above what a finished training reaches, and favours small models: a check on the other approaches, no more.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from flops_fit.errors import FitError
from flops_fit.scaling_law.approaches.isoflop import PowerLaw, fit_power_law

POINTS = 200
COLUMNS = ("experiment_id", "num_params", "num_tokens", "flops", "loss")


@dataclass(frozen=True, kw_only=True, eq=False)
class Envelope:
    """The lowest curve at each compute: arrays of shape (points,), and the power laws through them.

    `edge_share` is the share of points where the lowest curve is the smallest or the largest model's: near 1, the
    models do not bracket the optimum and the exponents say little.
    """

    compute: np.ndarray
    N: np.ndarray
    D: np.ndarray
    loss: np.ndarray
    N_law: PowerLaw
    D_law: PowerLaw
    edge_share: float


def envelope(curves: pd.DataFrame, *, points: int = POINTS) -> Envelope:
    """The envelope of training curves: rows (experiment_id, num_params, num_tokens, flops, loss), one per checkpoint.

    Each curve is interpolated in ln loss against ln FLOPs over its own range. Raises `FitError` for missing columns
    or fewer than 3 sizes with 3 points each.
    """
    missing = [name for name in COLUMNS if name not in curves]
    if missing:
        raise FitError(f"the curves have no column {', '.join(missing)}; needed are {', '.join(COLUMNS)}")
    usable = curves[(curves["loss"] > 0) & np.isfinite(curves["loss"]) & (curves["flops"] > 0)]
    parts = [part.sort_values("flops") for _, part in usable.groupby("experiment_id", sort=False) if len(part) >= 3]
    sizes = np.array([float(part["num_params"].iloc[0]) for part in parts])
    if len(np.unique(sizes)) < 3:
        raise FitError(f"{len(np.unique(sizes))} sizes with curves of 3 points or more; an envelope needs at least 3")
    low = np.sort([part["flops"].iloc[0] for part in parts])[1]  # where at least two curves compete
    high = np.sort([part["flops"].iloc[-1] for part in parts])[-2]
    compute = np.geomspace(low, max(high, low * 1.001), points)
    log_loss = np.full((len(parts), points), np.inf)
    tokens = np.empty((len(parts), points))
    for row, part in enumerate(parts):
        log_flops = np.log(part["flops"].to_numpy(dtype=float))
        inside = (compute >= part["flops"].iloc[0]) & (compute <= part["flops"].iloc[-1])
        values = np.interp(np.log(compute), log_flops, np.log(part["loss"].to_numpy(dtype=float)))
        log_loss[row, inside] = values[inside]
        tokens[row] = np.exp(np.interp(np.log(compute), log_flops, np.log(part["num_tokens"].to_numpy(dtype=float))))
    lowest = log_loss.argmin(axis=0)
    reached = np.isfinite(log_loss.min(axis=0))
    compute, lowest, column = compute[reached], lowest[reached], np.flatnonzero(reached)
    N, D = sizes[lowest], tokens[lowest, column]
    edge = np.isin(N, [sizes.min(), sizes.max()])
    return Envelope(
        compute=compute,
        N=N,
        D=D,
        loss=np.exp(log_loss[lowest, column]),
        N_law=fit_power_law(compute, N),
        D_law=fit_power_law(compute, D),
        edge_share=float(edge.mean()),
    )
