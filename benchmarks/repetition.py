"""What a repeated token is worth: ways to fit it, and how well each predicts runs that it has not seen.

    OMP_NUM_THREADS=1 python benchmarks/repetition.py

On the 182 runs of Muennighoff et al. (2023): their law of fresh data held with their own R*, with R* fitted to it, a
law fitted to the runs that see their data 2.5 times at most, and one fitted together with R*. delta is 1e-3 for all.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
from tables import DATA

from flops_fit.basics.formatting import markdown_table
from flops_fit.scaling_law import fit_repetition, fit_scaling_law

C4 = {"E": np.exp(0.6254804), "A": np.exp(6.255414), "B": np.exp(7.3049974), "alpha": 0.3526596, "beta": 0.3526596}
SHARED = {"delta": 1e-3, "bootstraps": 2}


def ways(runs):
    """A `Repetition` by name, fitted to `runs`."""
    held = fit_repetition(runs, base=C4, **SHARED)
    fresh = runs[runs["num_tokens"] <= 2.5 * runs["unique_tokens"]]
    own = fit_scaling_law(fresh, form="chinchilla", **SHARED)
    return {
        "published constants": replace(held, data=15.387756, params=5.309743),
        "their law held, R*_D and R*_N": held,
        "their law held, R*_D": fit_repetition(runs, base=C4, excess_params=False, **SHARED),
        "law of nearly fresh runs held, R*_D and R*_N": fit_repetition(runs, base=own, **SHARED),
        "law of nearly fresh runs held, R*_D": fit_repetition(runs, base=own, excess_params=False, **SHARED),
        "law and R*_D together": fit_repetition(runs, **SHARED),
    }


def off(found, runs):
    """`ln L_pred - ln L` of each of `runs`."""
    columns = (runs[name].to_numpy(dtype=float) for name in ("num_params", "num_tokens", "unique_tokens"))
    return np.log(found.loss(*columns) / runs["loss"].to_numpy(dtype=float))


def main():
    runs = pd.read_csv(DATA / "datablations.csv")
    epochs, compute = runs["num_tokens"] / runs["unique_tokens"], runs["flops"]
    fold = np.random.default_rng(0).integers(5, size=len(runs))
    splits = {
        "all runs, in sample": [(runs, runs)],
        "five-fold": [(runs[fold != k], runs[fold == k]) for k in range(5)],
        "over 40 epochs (to 240) held out": [(runs[epochs <= 40], runs[(epochs > 40) & (epochs <= 240)])],
        "over 80 epochs (to 480) held out": [(runs[epochs <= 80], runs[(epochs > 80) & (epochs <= 480)])],
        "over 1e20 FLOPs held out": [(runs[compute <= 1e20], runs[compute > 1e20])],
        "over 2e9 parameters held out": [(runs[runs["num_params"] < 2e9], runs[runs["num_params"] >= 2e9])],
    }
    rows = []
    for split, parts in splits.items():
        fitted = [(ways(train), test) for train, test in parts]
        for way in fitted[0][0]:
            misses = np.concatenate([off(found[way], test) for found, test in fitted])
            first = fitted[0][0][way]
            rms = np.sqrt(np.mean(misses**2))
            error = f"{np.median(np.abs(misses)):.2%}", f"{rms:.2%}", f"{np.median(misses):+.2%}"
            rows.append((split, way, f"{first.data:.3g}", f"{first.params:.3g}", *error))
    print(markdown_table(("runs", "way", "R*_D", "R*_N", "median error", "RMS", "bias"), rows))


if __name__ == "__main__":
    main()
