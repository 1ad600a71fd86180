"""Do intervals cover where rows are checkpoints of one run, with and without a column that says so?

    OMP_NUM_THREADS=1 python benchmarks/checkpoints.py [--studies 60]

24 sizes of 8 checkpoints each; most noise is the run's, and all of its checkpoints share it.
"""

from __future__ import annotations

import argparse

import numpy as np
import pandas as pd

from flops_fit.basics.formatting import markdown_table
from flops_fit.scaling_law import fit_scaling_law
from flops_fit.synthetic import REPLICATION

RUNS, CHECKPOINTS = 24, 8
PARAMETERS = ("E", "alpha", "beta", "a")


def checkpointed(seed, of_run=0.005, own=0.001):
    """A table of trainings with their checkpoints; `of_run` and `own` are standard deviations of ln L."""
    generator = np.random.default_rng(seed)
    N = np.repeat(np.geomspace(3e7, 3e9, RUNS), CHECKPOINTS)
    D = np.tile(np.geomspace(1, 60, CHECKPOINTS), RUNS) * np.sqrt(N * 1e9)
    noise = np.repeat(of_run * generator.standard_normal(RUNS), CHECKPOINTS) + own * generator.standard_normal(len(N))
    names = np.repeat([f"run-{number}" for number in range(RUNS)], CHECKPOINTS)
    loss = REPLICATION.loss(N, D) * np.exp(noise)
    return pd.DataFrame({"run_name": names, "num_params": N, "num_tokens": D, "loss": loss})


def covered(table):
    """Whether each 90 % interval holds the truth (at 10 times the runs' compute), and how wide that of ln N_opt is."""
    law = fit_scaling_law(table, form="chinchilla", weighting="plain", bootstraps=300)
    far = 10 * law.runs.flops.max()
    N = REPLICATION.N_opt(far)
    truth = {name: (law.interval(name), getattr(REPLICATION, name)) for name in PARAMETERS}
    truth["N_opt"] = law.interval("N_opt", far), N
    truth["L_opt"] = law.interval("L_opt", far), REPLICATION.loss(N, REPLICATION.D_opt(far))
    low, high = truth["N_opt"][0]
    return {name: ends[0] <= value <= ends[1] for name, (ends, value) in truth.items()} | {"width": np.log(high / low)}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--studies", type=int, default=60)
    tables = [checkpointed(seed) for seed in range(parser.parse_args().studies)]
    rows = []
    for way, made in (("named", lambda table: table), ("not named", lambda table: table.drop(columns="run_name"))):
        mean = pd.DataFrame([covered(made(table)) for table in tables]).mean()
        rows.append((way, *(f"{mean[name]:.0%}" for name in (*PARAMETERS, "N_opt", "L_opt")), f"{mean['width']:.3f}"))
    print(markdown_table(("run of a row", *PARAMETERS, "N_opt", "L_opt", "width of ln N_opt"), rows))


if __name__ == "__main__":
    main()
