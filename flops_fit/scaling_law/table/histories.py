"""Tables that are logs: many rows of a run, of which those with the run's planned tokens all along are no runs."""

from __future__ import annotations

import numpy as np
import pandas as pd

from flops_fit.tables.headings import plain

STEPS = (
    "step",
    "globalstep",
    "trainerglobalstep",
    "iteration",
    "iter",
    "iterations",
)  # where in a run a row was written


def earlier_steps(table: pd.DataFrame) -> list[str]:
    """Why rows are no runs, (rows,), "" where they are: later rows of the same run have the same N and D.

    Rows of one run whose tokens grow are its checkpoints, and stay.
    """
    reasons = [""] * len(table)
    column = next((name for name in table.columns if plain(str(name).rpartition("/")[2]) in STEPS), None)
    if column is None:
        return reasons
    steps = pd.to_numeric(table[column], errors="coerce").to_numpy(dtype=float)
    keys = [name for name in ("group", "num_params", "num_tokens", "seed") if name in table]
    usable = np.isfinite(steps) & np.isfinite(table["loss"].to_numpy(dtype=float))
    part = table[keys].astype(str).assign(step=steps)[usable]
    last = part.groupby(keys, sort=False)["step"].transform("max")
    for row, step, end in zip(part.index, part["step"], last, strict=True):
        if step < end:
            reasons[row] = (
                f"step {step:g} of a run that has a row at step {end:g} with the same num_params and num_tokens"
            )
    return reasons
