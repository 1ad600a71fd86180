"""Two recipes with the same exponents, fitted apart and together: how far off each is, and whether intervals cover.

    OMP_NUM_THREADS=1 python benchmarks/together.py [--studies 100] [--write]

5 budgets of 7 sizes each, a factor 4 to each side; noise of 0.5 % and 0.8 %.
"""

from __future__ import annotations

import argparse

import numpy as np
from written import write_page

from flops_fit.basics.formatting import markdown_table
from flops_fit.scaling_law import fit_scaling_law, fit_scaling_law_together
from flops_fit.synthetic import REPLICATION, KnownLaw, synthetic_runs

OTHER = KnownLaw(E=1.87, A=600.0, B=1700.0, alpha=REPLICATION.alpha, beta=REPLICATION.beta)
FAR, BOOTSTRAPS = 1e22, 300
TRUTH = {
    "alpha": REPLICATION.alpha,
    "beta": REPLICATION.beta,
    "E": REPLICATION.E,
    "ln N_opt": np.log(REPLICATION.N_opt(FAR)),
    "ln ratio of N_opt": np.log(REPLICATION.N_opt(FAR) / OTHER.N_opt(FAR)),
}


def answers(laws):
    """Estimate and draws of each of `TRUTH`."""
    first, second = laws["a"], laws["b"]
    found = {name: (getattr(first, name), first.draws_of(name)) for name in ("alpha", "beta", "E")}
    sizes = [(law.N_opt(FAR), law.draws_of("N_opt", FAR, parts=("sampling",))) for law in (first, second)]
    found["ln N_opt"] = np.log(sizes[0][0]), np.log(sizes[0][1])
    found["ln ratio of N_opt"] = np.log(sizes[0][0] / sizes[1][0]), np.log(sizes[0][1] / sizes[1][1])
    return found


def study(seed):
    """Both ways of one study of each recipe."""
    tables = {
        "a": synthetic_runs(REPLICATION, noise=0.005, seed=seed),
        "b": synthetic_runs(OTHER, noise=0.008, seed=seed + 10_000),
    }
    shared = {"form": "chinchilla", "weighting": "plain", "bootstraps": BOOTSTRAPS}
    apart = {name: fit_scaling_law(runs, seed=at, **shared) for at, (name, runs) in enumerate(tables.items())}
    together = fit_scaling_law_together(tables, weighting="plain", bootstraps=BOOTSTRAPS)
    said = any(finding.code == "not_shared" for finding in together["a"].diagnostics)
    return answers(apart), answers(together), said


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--studies", type=int, default=100)
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    studies = [study(seed) for seed in range(options.studies)]
    rows = []
    for name, truth in TRUTH.items():
        row = [name]
        for way in (0, 1):
            off = np.array([each[way][name][0] - truth for each in studies])
            ends = np.array([np.quantile(each[way][name][1], [0.05, 0.95]) for each in studies])
            covered = np.mean((ends[:, 0] <= truth) & (truth <= ends[:, 1]))
            row += [f"{np.sqrt(np.mean(off**2)):.4f}", f"{covered:.0%}"]
        rows.append((*row, f"{float(row[1]) / float(row[3]):.2f}"))
    headers = ("", "apart: RMS error", "covered", "together: RMS error", "covered", "ratio")
    said = f"`not_shared` was said in {sum(each[2] for each in studies)} of {len(studies)}"
    page = f"`python benchmarks/together.py`, {len(studies)} studies.\n\n{markdown_table(headers, rows)}\n\n{said}"
    print(page)
    if options.write:
        write_page(__file__, "Two recipes fitted apart and together", page)


if __name__ == "__main__":
    main()
