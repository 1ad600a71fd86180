"""Do 90 % intervals cover 90 %, and how wide are they beside least squares?

    python benchmarks/coverage.py [--studies 400] [--bootstraps 400] [--write]

Synthetic studies of 5 budgets over two decades, 7 sizes a factor 6 to each side, each budget's grid off the optimum by
a random factor (ln sd 0.3), noise of 0.3 %: Gaussian, Student t with 3 degrees of freedom, or 5 % outliers of ten
times the noise. The intervals are those of `form="chinchilla"`, about sampling error alone. `--write` keeps the table
in benchmarks/coverage.md.
"""

from __future__ import annotations

import argparse

import numpy as np
from written import write_page

from flops_fit.basics.formatting import markdown_table
from flops_fit.scaling_law import fit_scaling_law
from flops_fit.synthetic import DATA_HEAVY, SYMMETRIC, synthetic_runs

LAWS = {"symmetric": SYMMETRIC, "asymmetric": DATA_HEAVY}
NOISES = ("gaussian", "t3", "outliers")
QUANTITIES = ("a", "N_opt", "E")
FAR = 1e22  # 100 times the largest budget


def study(law, kind, seed):
    """One synthetic study."""
    offsets = np.exp(np.random.default_rng(10_000 + seed).normal(0, 0.3, 5))
    return synthetic_runs(law, noise=0.003, noise_kind=kind, span=6.0, off_centre=offsets, seed=seed)


def truths(law):
    """True a, N_opt at 100 times the compute, and E."""
    return np.array([law.a, float(law.N_opt(FAR)), law.E])


def intervals(law, level=0.9):
    """(low, high) per quantity, shape (3, 2)."""
    return np.array([law.interval(name, FAR if name == "N_opt" else None, level=level) for name in QUANTITIES])


def coverage(law, kind, studies, bootstraps):
    """Share of studies covered (3,), and mean width over that of least squares (3,)."""
    covered, widths = [], []
    truth = truths(law)
    for seed in range(studies):
        runs = study(law, kind, seed)
        bands = intervals(fit_scaling_law(runs, form="chinchilla", bootstraps=bootstraps, seed=seed))
        squares = intervals(fit_scaling_law(runs, delta=1e3, bootstraps=bootstraps, seed=seed))
        covered.append((bands[:, 0] <= truth) & (truth <= bands[:, 1]))
        widths.append(np.column_stack([np.ptp(bands, axis=1), np.ptp(squares, axis=1)]))
    middle = np.median(widths, axis=0)
    print("    median widths over those of least squares", (middle[:, 0] / middle[:, 1]).round(2), flush=True)
    mean = np.mean(widths, axis=0)
    return np.mean(covered, axis=0), mean[:, 0] / mean[:, 1]


def table(studies, bootstraps):
    """The whole table as Markdown."""
    rows = []
    for name, law in LAWS.items():
        for kind in NOISES:
            shares, ratios = coverage(law, kind, studies, bootstraps)
            rows.append((name, kind, *(f"{share:.3f}" for share in shares), *(f"{ratio:.2f}" for ratio in ratios)))
            print(*rows[-1], flush=True)
    headers = ("law", "noise", *(f"{q} covered" for q in QUANTITIES), *(f"{q} width / LS" for q in QUANTITIES))
    return markdown_table(headers, rows)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--studies", type=int, default=400)
    parser.add_argument("--bootstraps", type=int, default=400)
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    text = table(options.studies, options.bootstraps)
    print(text)
    if options.write:
        title = f"Coverage of 90 % intervals ({options.studies} studies a row, {options.bootstraps} resamples)"
        write_page(__file__, title, text)


if __name__ == "__main__":
    main()
