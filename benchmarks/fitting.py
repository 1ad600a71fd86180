"""How fast is the fit, beside the usual one?

    OMP_NUM_THREADS=1 python benchmarks/fitting.py [--starts 12] [--write]

CPU time in one process, one thread, on a table of 240 runs (the Epoch table where it is at hand, else a synthetic one
of the same size): the point fit, 1000 bootstrap refits, a whole `fit_scaling_law`, and the usual way, L-BFGS-B with
numerical gradients from the 4500 starts of Hoffmann et al. (2022), measured on a sample of them and extrapolated.
"""

from __future__ import annotations

import argparse
import itertools
import time

import numpy as np
from scipy.optimize import minimize
from scipy.special import logsumexp
from tables import public_tables
from written import write_page

from flops_fit.basics.formatting import markdown_table
from flops_fit.scaling_law import fit_scaling_law
from flops_fit.scaling_law.fitting.parametric import fit_parametric
from flops_fit.scaling_law.fitting.uncertainty import bootstrap
from flops_fit.synthetic import REPLICATION, synthetic_runs

GRID = (range(0, 30, 5), range(0, 30, 5), np.arange(-1, 1.5, 0.5), np.arange(0, 2.5, 0.5), np.arange(0, 2.5, 0.5))


def cpu_seconds(function, repeats):
    """The best of `repeats` in CPU seconds."""
    times = []
    for _ in range(repeats):
        began = time.process_time()
        function()
        times.append(time.process_time() - began)
    return min(times)


def usual_objective(theta, log_n, log_d, log_loss, delta):
    """Hoffmann et al.'s objective as it is usually written: theta = (a, b, e, alpha, beta)."""
    a, b, e, alpha, beta = theta
    predicted = logsumexp(np.stack([a - alpha * log_n, b - beta * log_d, np.full_like(log_n, e)]), axis=0)
    residual = np.abs(predicted - log_loss)
    return np.where(residual <= delta, residual**2 / 2, delta * (residual - delta / 2)).sum()


def usual_fit_seconds(columns, delta, sample):
    """CPU seconds of one start, averaged over a sample of the 4500, and the best objective it found."""
    starts = np.array(list(itertools.product(*GRID)), dtype=float)
    chosen = starts[np.random.default_rng(0).choice(len(starts), sample, replace=False)]
    args = (np.log(columns[0]), np.log(columns[1]), np.log(columns[2]), delta)
    began, best = time.process_time(), np.inf
    for start in chosen:
        best = min(best, minimize(usual_objective, start, args, method="L-BFGS-B").fun)
    return (time.process_time() - began) / sample, len(starts), best


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--starts", type=int, default=12)
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    tables = public_tables()
    budgets = np.geomspace(1e18, 1e21, 15)
    runs = tables.get(
        "epoch 240", synthetic_runs(REPLICATION, compute_budgets=budgets, sizes_per_budget=16, noise=0.005)
    )
    columns = [runs[name].to_numpy(dtype=float) for name in ("num_params", "num_tokens", "loss")]
    paper = fit_parametric(*columns, delta=1e-3)
    auto = fit_parametric(*columns)
    cluster = np.arange(len(runs))
    point = cpu_seconds(lambda: fit_parametric(*columns, delta=1e-3), 15)
    usual, starts, best = usual_fit_seconds(columns, 1e-3, options.starts)
    rows = [
        (f"point fit, {len(runs)} runs, delta = 1e-3", f"{1e3 * point:.1f} ms", f"objective {paper.objective:.12g}"),
        ("point fit, delta = auto", f"{1e3 * cpu_seconds(lambda: fit_parametric(*columns), 15):.1f} ms", ""),
        ("1000 bootstrap refits, delta = auto", f"{cpu_seconds(lambda: bootstrap(auto, cluster), 5):.3f} s", ""),
        ("1000 bootstrap refits, delta = 1e-3", f"{cpu_seconds(lambda: bootstrap(paper, cluster), 5):.3f} s", ""),
        ("fit_scaling_law, everything", f"{cpu_seconds(lambda: fit_scaling_law(runs), 3):.2f} s", ""),
        (
            f"L-BFGS-B, numerical gradients, {starts} starts",
            f"{usual * starts:.0f} s",
            f"extrapolated from {options.starts} starts; their best objective {best:.12g}",
        ),
        ("that over the point fit", f"{usual * starts / point:,.0f} ×", ""),
    ]
    text = markdown_table(("what", "CPU time", "note"), rows)
    print(text)
    if options.write:
        write_page(__file__, "Speed of the fit, one thread", text)


if __name__ == "__main__":
    main()
