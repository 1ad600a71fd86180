"""Two recipes compared: what is detected, whether stated probabilities come true, and how often noise is taken for it.

    OMP_NUM_THREADS=1 python benchmarks/compare.py [--pairs 200] [--write]

Simulated pairs of studies. Studies of 8 runs have 4 budgets of 2 sizes, a factor 2 to either side of the optimum.
"Could be found" is the power of the best test there is, of one who knows the law but for one factor on the compute: the
means of two times 8 runs, where the curve is as steep as in the middle of the budgets.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import time
from statistics import NormalDist

import numpy as np
from written import write_page

from flops_fit.basics.formatting import markdown_table
from flops_fit.scaling_law import compare_laws, fit_scaling_law, fit_scaling_law_together
from flops_fit.synthetic import REPLICATION, KnownLaw, synthetic_runs

BOOTSTRAPS, NOISE = 100, 0.003
SMALL = {"compute_budgets": (1e18, 3.16e18, 1e19, 3.16e19), "sizes_per_budget": 2, "span": 2.0}
LOW = {**SMALL, "compute_budgets": (1e16, 3.16e16, 1e17, 3.16e17)}  # where the curve is steeper
SHARED = ("E", "alpha", "beta")
SPEEDUP = dataclasses.replace(REPLICATION, flops_per_param_per_token=6 / 1.05)
AT = {"at the largest budget": 1.0, "at 10 times": 10.0, "at 100 times": 100.0}  # that, of compute
BINS = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.975, 1.0)


def fitted(first, second, way):
    """Laws of two tables of runs: "apart" and "five" parameters apart, or "together"."""
    if way == "together":
        return fit_scaling_law_together({"a": first, "b": second}, shared=SHARED, bootstraps=BOOTSTRAPS)
    form = "chinchilla" if way == "five" else "auto"
    return {
        name: fit_scaling_law(runs, form=form, bootstraps=BOOTSTRAPS) for name, runs in (("a", first), ("b", second))
    }


def probabilities(first, second, seed, way, **design):
    """That the first is the better at each of `AT`, (3,); NaN where the runs do not determine a law."""
    tables = [synthetic_runs(law, noise=NOISE, seed=2 * seed + at, **design) for at, law in enumerate((first, second))]
    largest = float(tables[0]["flops"].max())
    laws = fitted(*tables, way)
    if not all(law.determined for law in laws.values()):
        return np.full(len(AT), np.nan)
    return np.array(
        [at.probability for at in compare_laws(laws, at=[largest * times for times in AT.values()]).targets]
    )


def share(hits, of):
    """`0.42 ± 0.03`, with the standard error of a share."""
    rate = hits / of if of else np.nan
    return f"{rate:.2f} ± {np.sqrt(rate * (1 - rate) / of):.2f}" if of else "–"


def detected(pairs):
    """Rows: how often a recipe that is 5 % cheaper is found to be the better one."""
    rows = []
    for way, name, design in (
        ("five", "apart", SMALL),
        ("together", "together", SMALL),
        ("together", "together", LOW),
    ):
        better = 1 - np.array([probabilities(REPLICATION, SPEEDUP, seed, way, **design) for seed in range(pairs)])
        first, *_, last = design["compute_budgets"]
        name = f"{name}, {first:g} to {last:g} FLOPs"
        best = f"{possible(float(np.sqrt(first * last))):.2f}"
        for at, where in enumerate(AT):
            known = better[np.isfinite(better[:, at]), at]
            found = [share((known >= level).sum(), pairs) for level in (0.95, 0.975)]
            wrong = share((known <= 0.05).sum(), pairs)
            rows.append((name, where, *found, best, wrong, pairs - len(known)))
        print(*rows[-3:], sep="\n", flush=True)
    return rows


def possible(compute):
    """Power of the best test at 95 %, one-sided, around C FLOPs."""
    gain = np.log(best_loss(REPLICATION, compute) / best_loss(SPEEDUP, compute))
    return NormalDist().cdf(gain / (NOISE * np.sqrt(2 / 8)) - NormalDist().inv_cdf(0.95))


def another(generator):
    """A recipe near REPLICATION: exponents, E and cost a little different."""
    E, alpha, beta = generator.normal(0, [0.01, 0.004, 0.004])
    cheaper = float(np.exp(generator.normal(0, 0.1)))
    return KnownLaw(
        E=REPLICATION.E + E,
        A=REPLICATION.A * (1e9**alpha),  # so that the term stays what it is at a billion parameters
        B=REPLICATION.B * (2e10**beta),
        alpha=REPLICATION.alpha + alpha,
        beta=REPLICATION.beta + beta,
        flops_per_param_per_token=6.0 / cheaper,
    )


def best_loss(law, compute):
    """The true loss at the optimum of C FLOPs."""
    return float(law.loss(law.N_opt(compute), law.D_opt(compute)))


def calibrated(pairs):
    """Rows: of statements with a probability in a bin, the share that is right, and their mean probability."""
    said, right = [], []
    for seed in range(pairs):
        generator = np.random.default_rng(50_000 + seed)
        first, second = another(generator), another(generator)
        own = probabilities(first, second, 1000 + seed, "apart")
        for times, probability in zip(AT.values(), own, strict=True):
            truth = best_loss(first, 1e20 * times) < best_loss(second, 1e20 * times)
            said.append(max(probability, 1 - probability))
            right.append((probability >= 0.5) == truth)
    said, right = np.array(said), np.array(right)
    where = np.tile(np.arange(len(AT)), pairs)
    rows = []
    for name, chosen in (("all", where >= 0), *((name, where == at) for at, name in enumerate(AT))):
        for low, high in itertools.pairwise(BINS):
            inside = chosen & (said >= low) & ((said < high) | (high == 1.0))
            if inside.sum() and (name == "all" or high == 1.0):
                rows.append(
                    (name, f"{low:g} to {high:g}", int(inside.sum()), f"{said[inside].mean():.3f}",
                     share(right[inside].sum(), inside.sum()))
                )  # fmt: skip
    print(*rows, sep="\n", flush=True)
    return rows


def mistaken(pairs):
    """Rows: how often two studies of one recipe are told apart."""
    rows = []
    for way, name, design in (
        ("apart", "35 runs each, apart", {}),
        ("five", "8 runs each, apart", SMALL),
        ("together", "8 runs each, together", SMALL),
        ("together", "35 runs each, together", {}),
    ):
        first = np.array([probabilities(REPLICATION, REPLICATION, 5000 + seed, way, **design) for seed in range(pairs)])
        sure = np.maximum(first, 1 - first)
        for at, where in enumerate(AT):
            rows.append((name, where, *(share((sure[:, at] >= level).sum(), pairs) for level in (0.95, 0.975))))
        print(*rows[-3:], sep="\n", flush=True)
    return rows


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--pairs", type=int, default=200)
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    begun = time.process_time()
    tables = [
        ("A recipe that needs 5 % less compute, 8 runs each, found to be the better one",
         ("fitted", "compared", "p ≥ 0.95", "p ≥ 0.975 (told apart)", "could be found at 0.95", "wrong at 0.95",
          "undetermined"),
         detected(options.pairs)),
        (f"{5 * options.pairs:,} pairs of recipes that differ a little, 35 runs each, apart: statements that are right",
         ("compared", "stated probability", "statements", "their mean", "right"), calibrated(5 * options.pairs)),
        ("Two studies of one recipe, taken for two",
         ("fitted", "compared", "p ≥ 0.95 for either", "p ≥ 0.975 for either (told apart)"), mistaken(options.pairs)),
    ]  # fmt: skip
    text = "\n\n".join(f"## {title}\n\n{markdown_table(headers, rows)}" for title, headers, rows in tables)
    spent = f"{time.process_time() - begun:.0f} s of one core"
    text = (
        f"`python benchmarks/compare.py --write`: {options.pairs} pairs, noise {NOISE:.1%} of the loss, {BOOTSTRAPS} "
        f"resamples, true laws near {REPLICATION}; {spent}. Together means that E, alpha and beta are shared.\n\n{text}"
    )
    print(text)
    if options.write:
        write_page(__file__, "Two recipes compared", text)


if __name__ == "__main__":
    main()
