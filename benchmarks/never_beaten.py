"""Does an independent optimiser from many random starts find anything lower than the fit?

    python benchmarks/never_beaten.py [--starts 500] [--synthetic 200] [--skip-public]

SciPy's L-BFGS-B with the exact gradient, on the same objective written again here, in the same box (exponents in
[0, 5], E, A, B positive), from starts drawn over the whole of it. Prints every table where it wins by more than 1e-9.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
from scipy.optimize import minimize
from tables import public_tables, synthetic_tables

from flops_fit.scaling_law.fitting.parametric import fit_parametric

POLISHED = 4  # of the ends of all starts, the lowest
BOUNDS = [(-30.0, 60.0), (-60.0, 60.0), (-60.0, 60.0), (0.0, 5.0), (0.0, 5.0)]


def independent_objective(theta, n, d, log_loss, delta):
    """Sum of Huber(log-loss residual) and its gradient, theta = (ln E, ln A', ln B', alpha, beta)."""
    e, a, b, alpha, beta = theta
    terms = np.stack([np.full_like(n, e), a - alpha * n, b - beta * d])
    top = terms.max(axis=0)
    predicted = top + np.log(np.exp(terms - top).sum(axis=0))
    residual = predicted - log_loss
    size = np.abs(residual)
    value = np.where(size <= delta, residual**2 / 2, delta * (size - delta / 2)).sum()
    slope = np.clip(residual, -delta, delta)
    share = np.exp(terms - predicted)
    gradient = share @ slope
    return value, np.array([*gradient, -(slope * share[1]) @ n, -(slope * share[2]) @ d])


def random_starts(count, seed, level):
    """Starts over the box: any split of the loss between the three terms, exponents up to 2."""
    generator = np.random.default_rng(seed)
    split = np.log(generator.dirichlet([0.7, 0.7, 0.7], count) + 1e-9) + level
    return np.column_stack([split, generator.uniform(0, 2, (count, 2)) ** 1.5])


def best_of_many(table, delta, starts, seed):
    """The lowest objective that the independent optimiser finds, and where."""
    n, d = np.log(table["num_params"].to_numpy(float)), np.log(table["num_tokens"].to_numpy(float))
    log_loss = np.log(table["loss"].to_numpy(float))
    args = (n - n.mean(), d - d.mean(), log_loss, delta)
    found = [_descend(start, args, ftol=1e-9) for start in random_starts(starts, seed, log_loss.mean())]
    ends = [_descend(end.x, args, ftol=1e-15) for end in sorted(found, key=lambda end: end.fun)[:POLISHED]]
    best = min(ends, key=lambda end: end.fun)
    return float(best.fun), best.x


def _descend(start, args, ftol):
    options = {"ftol": ftol, "gtol": 1e-14, "maxiter": 3000, "maxfun": 6000}
    return minimize(independent_objective, start, args, jac=True, method="L-BFGS-B", bounds=BOUNDS, options=options)


def compare(name, table, delta, starts, seed=0):
    """(how much lower the other is, relative) for one table; positive means that the fit was beaten."""
    columns = (table[column].to_numpy(float) for column in ("num_params", "num_tokens", "loss"))
    fit = fit_parametric(*columns, delta=delta)
    other, where = best_of_many(table, fit.delta, starts, seed)
    gain = (fit.objective - other) / max(fit.objective, 1e-12)
    flag = "  BEATEN" if gain > 1e-9 else ""
    at = f"  fit {fit.theta.round(4)} other {np.round(where, 4)}" if flag else ""
    values = f"fit {fit.objective:.12g}  other {other:.12g}  {gain:+.1e}"
    print(f"{name:45} delta {fit.delta:9.3g}  {values}{flag}{at}", flush=True)
    return gain


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--starts", type=int, default=500)
    parser.add_argument("--synthetic", type=int, default=200)
    parser.add_argument("--skip-public", action="store_true")
    options = parser.parse_args()
    began, gains = time.time(), []
    for name, table in ({} if options.skip_public else public_tables()).items():
        for delta in ("auto", 1e-3):
            gains.append(compare(name, table, delta, options.starts))
    for name, table in synthetic_tables(options.synthetic):
        gains.append(compare(name, table, "auto", options.starts))
    beaten = sum(gain > 1e-9 for gain in gains)
    print(f"{len(gains)} comparisons, {options.starts} starts each, {time.time() - began:.0f} s: beaten {beaten} times")


if __name__ == "__main__":
    main()
