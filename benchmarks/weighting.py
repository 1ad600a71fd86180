"""How far should runs far from the valley, and of little compute, be trusted? The levels of `fitting.weighting`.

    OMP_NUM_THREADS=1 python benchmarks/weighting.py [--write]

Some ten minutes. Small parts of public tables (`small_studies.py`) are fitted with each choice of levels and charge,
and the law predicts the next three budgets' own minima. Each family is judged with what is best, in the mean log error,
on all other families; beside it exact laws with noise, which chose nothing.
"""

from __future__ import annotations

import argparse
from unittest.mock import patch

import numpy as np
import pandas as pd
from holdouts import FAMILIES
from small_studies import EXACT, every_study
from written import write_page

from flops_fit import fit_scaling_law
from flops_fit.basics.formatting import markdown_table
from flops_fit.errors import FitError
from flops_fit.scaling_law.fitting import weighting

NARROW = ((np.inf, 2.0, 1.4), (np.inf, 4.0, 2.0, 1.0))
WIDE = ((np.inf, 2.0, 1.4, 1.0, 0.7), (np.inf, 4.0, 2.0, 1.0, 0.5))
BEFORE = "to 1.4 and 1, charge 2"
CHOICES = {
    "all alike": (((np.inf,), (np.inf,)), 0.0),
    BEFORE: (NARROW, 2.0),
    "to 1.4 and 1, charge 1": (NARROW, 1.0),
    "to 0.7 and 0.5, charge 1": (WIDE, 1.0),
    "to 0.7 and 0.5, charge 0": (WIDE, 0.0),
}


def scores(family, studies):
    """A row for each minimum and choice: absolute log errors."""
    for runs, minima in studies:
        for choice, ((distances, ages), charge) in CHOICES.items():
            levels = tuple((v, c) for v in distances for c in ages)
            try:
                with patch.multiple(weighting, LEVELS=levels, CHARGE=charge):
                    law = fit_scaling_law(runs, bootstraps=20)
            except FitError:
                continue
            if not law.determined:
                continue
            for C, N, loss in minima:
                off, loss_off = abs(np.log(law.N_opt(C) / N)), abs(np.log(law.L_opt(C) / loss))
                yield {"family": family, "choice": choice, "N_opt": off, "loss": loss_off}


def report(found):
    """Mean errors of each choice by family, and each family with the choice of the others."""
    parts = []
    for name in ("N_opt", "loss"):
        means = found.pivot_table(index="choice", columns="family", values=name).loc[list(CHOICES)]
        families = [family for family in FAMILIES if family in means]
        logs = np.log(means[families])
        rows = [(choice, *(f"{value:.2%}" for value in means.loc[choice])) for choice in CHOICES]
        judged = []
        for family in families:
            chosen = str(logs.drop(columns=family).mean(axis=1).idxmin())
            judged.append((family, chosen, f"{means.loc[chosen, family]:.2%}", f"{means.loc[BEFORE, family]:.2%}"))
        parts += [f"## Error of {name}", markdown_table(("choice", *means), rows)]
        parts += [markdown_table(("judged on", "chosen on the others", "error", BEFORE), judged)]
    return "\n\n".join(parts)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    rows = []
    for name, studies in every_study():
        rows += scores("exact" if name in EXACT else name, studies)
    text = report(pd.DataFrame(rows))
    print(text)
    if options.write:
        write_page(__file__, "How runs are weighted", text)


if __name__ == "__main__":
    main()
