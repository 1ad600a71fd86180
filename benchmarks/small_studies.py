"""Do the intervals of small studies hold? Parts of public tables as small as a first study, and what came next.

    OMP_NUM_THREADS=1 python benchmarks/small_studies.py [--write]

Some ten minutes. Every 3, 4 and 5 neighbouring budgets of a public table, at most eight sizes of each, are a study; the
next three budgets' own minima are predicted from it. Beside them exact laws with three kinds of noise: five budgets of
seven sizes, eight of nine and four of seven over two decades, at 10 and 100 times the compute. Widths are over those of
sampling error alone.
"""

from __future__ import annotations

import argparse

import numpy as np
import pandas as pd
from holdouts import FAMILIES, family_of, minimum_of
from tables import farseer, public_tables
from written import write_page

from flops_fit import fit_scaling_law
from flops_fit.basics.formatting import markdown_table
from flops_fit.errors import FitError
from flops_fit.scaling_law.checks.holdout import compute_groups
from flops_fit.scaling_law.table.runs import read_runs
from flops_fit.synthetic import DATA_HEAVY, MODEL_HEAVY, REPLICATION, synthetic_runs

BUDGETS, SIZES, NEXT, FEWEST = (3, 4, 5), 8, 3, 14
LAWS = {"replication": REPLICATION, "data-heavy": DATA_HEAVY, "model-heavy": MODEL_HEAVY}
EXACT = [f"{law}, {kind}" for kind in ("gaussian", "t3", "outliers") for law in LAWS]
GRIDS, NOISES, SEEDS = ((5, 7), (8, 9), (4, 7)), (0.003, 0.01), 8
LIMITS = {"N_opt": np.log(1.5), "L_opt": 0.02}  # what "trustworthy" promises


def small_studies(table):
    """(runs of a few neighbouring budgets, minima of the next) of a table."""
    if "split" in table:
        table = table[table["split"] == "train"].reset_index(drop=True)
    runs = read_runs(table)
    group = compute_groups(runs)
    levels = np.unique(group)
    for count in BUDGETS:
        for first in range(len(levels) - count):
            kept = np.zeros(len(runs), dtype=bool)
            for level in levels[first : first + count]:
                members = np.flatnonzero(group == level)
                order = members[np.argsort(runs.num_params[members], kind="stable")]
                kept[order[np.unique(np.linspace(0, len(order) - 1, SIZES).round().astype(int))]] = True
            following = (minimum_of(runs.subset(group == level)) for level in levels[first + count :][:NEXT])
            minima = [(minimum.C, minimum.N, minimum.loss) for minimum in following if minimum is not None]
            if kept.sum() >= FEWEST and minima:
                yield runs.subset(kept).to_frame()[["num_params", "num_tokens", "flops", "loss"]], minima


def every_study():
    """(name, its studies) of each public table by its family, and of each exact law with its noise."""
    for name, table in (public_tables() | {"farseer": farseer()}).items():
        if family_of(name) in FAMILIES:
            yield family_of(name), small_studies(table)
    for name in EXACT:
        yield name, exact_studies(name)


def exact_studies(name):
    """The same of an exact law; no two studies of all have the same noise."""
    law, kind = LAWS[name.split(", ")[0]], name.split(", ")[1]
    for number, (budgets, sizes) in enumerate(GRIDS):
        for noise in NOISES:
            first = SEEDS * (len(NOISES) * (len(GRIDS) * EXACT.index(name) + number) + NOISES.index(noise))
            for seed in range(first, first + SEEDS):
                computes = np.geomspace(1e18, 1e20, budgets)
                options = {"compute_budgets": computes, "sizes_per_budget": sizes, "span": 6.0}
                found = [(C, law.N_opt(C), law.loss(law.N_opt(C), C / 6 / law.N_opt(C))) for C in (1e21, 1e22)]
                yield synthetic_runs(law, noise=noise, noise_kind=kind, seed=seed, **options), found


def scores(family, studies):
    """A row for each study, minimum and quantity."""
    for runs, minima in studies:
        try:
            law = fit_scaling_law(runs, bootstraps=200)
        except FitError:
            continue
        if not law.determined:
            continue
        for C, N, loss in minima:
            for name, truth in (("N_opt", N), ("L_opt", loss)):
                parts = law.interval(name, C, parts=True)
                low, high = parts["total"]
                point = {"N_opt": law.N_opt, "L_opt": law.L_opt}[name](C)
                yield {
                    "family": family,
                    "form": law.form,
                    "quantity": name,
                    "covered": low <= truth <= high,
                    "width": np.log(high / low) / 2,
                    "over sampling": np.log(high / low) / np.log(parts["sampling"][1] / parts["sampling"][0]),
                    "within": abs(np.log(point / truth)) <= LIMITS[name],
                    "verdict": law.verdict_at(C, {"L_opt": "loss"}.get(name, name)),
                }


def report(found):
    """Coverage and width by family, and what verdicts were worth."""
    rows, verdicts = [], []
    for name in LIMITS:
        for family in (*FAMILIES, *EXACT):
            own = found[(found["quantity"] == name) & (found["family"] == family)]
            if len(own):
                width, over = own["width"].median(), own["over sampling"].median()
                rows.append((name, family, len(own), f"{own['covered'].mean():.0%}", f"{width:.2%}", f"x{over:.2f}"))
        real = found[(found["quantity"] == name) & found["family"].isin(FAMILIES)]
        mean = real.groupby("family")["covered"].mean().mean()
        rows.append((name, "mean of the families", len(real), f"{mean:.0%}", "", ""))
        for said, own in real.groupby("verdict"):
            verdicts.append((name, said, len(own), f"{own.groupby('family')['within'].mean().mean():.0%}"))
    headers = ("quantity", "family", "minima", "covered", "half width", "over sampling error's")
    worth = markdown_table(("quantity", "verdict", "minima", "within the limit, mean of the families"), verdicts)
    return markdown_table(headers, rows) + "\n\n" + worth


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    text = report(pd.DataFrame([row for name, studies in every_study() for row in scores(name, studies)]))
    print(text)
    if options.write:
        write_page(__file__, "Intervals of small studies", text)


if __name__ == "__main__":
    main()
