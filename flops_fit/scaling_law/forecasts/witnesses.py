"""Hashes of single runs, by which a forecast knows the runs that it was made from without telling them."""

from __future__ import annotations

import hashlib

import numpy as np

from flops_fit.scaling_law.table.runs import Runs

MOST = 200


def hashes_of(runs: Runs) -> np.ndarray:
    """12 hex digits of N, D and loss of each run, to six digits: what a CSV file keeps; shape (runs,)."""
    rows = zip(runs.num_params.tolist(), runs.num_tokens.tolist(), runs.loss.tolist(), strict=True)
    return np.array([hashlib.sha256(f"{N:.5e} {D:.5e} {loss:.5e}".encode()).hexdigest()[:12] for N, D, loss in rows])


def witnesses_of(runs: Runs) -> tuple[str, ...]:
    """The hashes of up to 200 runs, spread evenly over compute."""
    order = np.argsort(runs.flops, kind="stable")
    chosen = order[np.unique(np.linspace(0, len(runs) - 1, min(MOST, len(runs))).astype(int))]
    return tuple(np.unique(hashes_of(runs)[chosen]).tolist())
