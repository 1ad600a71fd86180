"""How far off is N_opt at 100 times the compute?

    python benchmarks/accuracy.py [--studies 300] [--span 6] [--write]

The studies of coverage.py, with Gaussian noise of 0.3 %: clean, with 5 % of the runs diverged (as their status says),
NaN or luckily low, and with 6 of the 35 runs diverged unnoticed, at a loss near ln(50,000).
"""

from __future__ import annotations

import argparse

import numpy as np
from written import write_page

from flops_fit.basics.formatting import markdown_table
from flops_fit.scaling_law import fit_scaling_law
from flops_fit.synthetic import CHINCHILLA, DATA_HEAVY, MODEL_HEAVY, REPLICATION, synthetic_runs

LAWS = {"Chinchilla": CHINCHILLA, "replication": REPLICATION, "data-heavy": DATA_HEAVY, "model-heavy": MODEL_HEAVY}
FAR = 1e22
PLATEAU, UNNOTICED = np.log(50_000), 6


def diverge_some(runs, seed):
    """The runs with six of them at the loss of a model that knows nothing."""
    generator = np.random.default_rng(20_000 + seed)
    loss = runs["loss"].to_numpy().copy()
    loss[generator.choice(len(runs), UNNOTICED, replace=False)] = PLATEAU + generator.normal(0, 0.05, UNNOTICED)
    return runs.assign(loss=loss)


def errors(law, studies, span, broken, diverged=False):
    """|ln N_opt / truth| at 100 times the largest budget, shape (studies,)."""
    found = []
    for seed in range(studies):
        offsets = np.exp(np.random.default_rng(10_000 + seed).normal(0, 0.3, 5))
        runs = synthetic_runs(law, noise=0.003, span=span, off_centre=offsets, seed=seed, broken_fraction=broken)
        runs = diverge_some(runs, seed) if diverged else runs
        found.append(np.log(fit_scaling_law(runs, bootstraps=2).N_opt(FAR) / law.N_opt(FAR)))
    return np.abs(found)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--studies", type=int, default=300)
    parser.add_argument("--span", type=float, default=6.0)
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    rows = []
    for name, law in LAWS.items():
        row = [name]
        for broken, diverged in ((0.0, False), (0.05, False), (0.0, True)):
            error = errors(law, options.studies, options.span, broken, diverged)
            row += [f"{100 * np.median(error):.1f} %", f"{100 * np.quantile(error, 0.9):.1f} %"]
        rows.append(row)
    headers = [
        f"{what}{kind}" for kind in ("", ", 5 % broken", ", 6 diverged") for what in ("median", "90th percentile")
    ]
    text = markdown_table(("law", *headers), rows)
    print(text)
    if options.write:
        title = f"Error of N_opt at 100× ({options.studies} studies a cell, sizes ×{options.span:g} to each side)"
        write_page(__file__, title, text)


if __name__ == "__main__":
    main()
