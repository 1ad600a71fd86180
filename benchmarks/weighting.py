"""How far should runs far from the valley, and of little compute, be trusted? The levels of `fitting.weighting`.

    OMP_NUM_THREADS=1 python benchmarks/weighting.py [--write]

Some five minutes. Small parts of public tables (`small_studies.py`) whose runs show no bend are fitted with each choice
of levels and charge, and predict the next three budgets' own minima. Each family is judged with what is best, in the
mean log error of N_opt and of the loss, on all other families; beside it exact laws with noise, which chose nothing.
"""

from __future__ import annotations

import argparse
from unittest.mock import patch

import numpy as np
import pandas as pd
from holdouts import FAMILIES, family_of
from small_studies import EXACT, exact_studies, small_studies
from tables import farseer, public_tables
from written import write_page

from flops_fit.basics.formatting import markdown_table
from flops_fit.errors import FitError
from flops_fit.scaling_law.fitting import weighting
from flops_fit.scaling_law.fitting.parametric import fit_parametric
from flops_fit.scaling_law.fitting.shape import PERHAPS, bend_chance
from flops_fit.scaling_law.flops_per_token import learn_flops_per_token, optimal_params
from flops_fit.scaling_law.quantities import law_loss
from flops_fit.scaling_law.table.runs import read_runs

ALIKE = "all alike"
LEVELS = {
    "to 1.4 and 1": ((np.inf, 2.0, 1.4), (np.inf, 4.0, 2.0, 1.0)),
    "to 1 and 0.5": ((np.inf, 2.0, 1.4, 1.0), (np.inf, 4.0, 2.0, 1.0, 0.5)),
    "to 0.7 and 0.5": ((np.inf, 2.0, 1.4, 1.0, 0.7), (np.inf, 4.0, 2.0, 1.0, 0.5)),
}
CHARGES = (0.0, 1.0, 2.0)
CHOICES = (ALIKE, *(f"{levels}, charge {charge:g}" for levels in LEVELS for charge in CHARGES))


def fits(runs):
    """Parameters by choice, and FLOPs per token; None where the runs show a bend or no law."""
    try:
        per_token = learn_flops_per_token(runs.num_params, runs.num_tokens, runs.flops)
        plain = fit_parametric(runs.num_params, runs.num_tokens, runs.loss, weights=runs.weight, delta="auto")
    except FitError:
        return None
    if bend_chance(plain) < PERHAPS:
        return None
    found = {ALIKE: plain.parameters}
    for name, (distances, ages) in LEVELS.items():
        levels = tuple((v, c) for v in distances for c in ages)
        for charge in CHARGES:
            with patch.multiple(weighting, LEVELS=levels, CHARGE=charge):
                valley = weighting.fit_valley(plain, runs.flops, lambda p: optimal_params(p, runs.flops, per_token))
            found[f"{name}, charge {charge:g}"] = valley.fit.parameters
    return found, per_token


def scores(family, studies):
    """A row for each minimum and choice: absolute log errors."""
    for table, minima in studies:
        runs = read_runs(table)
        fitted = fits(runs)
        if fitted is None:
            continue
        for C, N, loss in minima:
            for choice, parameters in fitted[0].items():
                own = float(optimal_params(parameters, np.array([C]), fitted[1])[0])
                predicted = float(law_loss(parameters, own, C / float(fitted[1](np.array([own]))[0])))
                off, loss_off = abs(np.log(own / N)), abs(np.log(predicted / loss))
                yield {"family": family, "choice": choice, "N_opt": off, "loss": loss_off}


def report(found):
    """Mean errors of each choice by family, and each family with the choice of the others."""
    parts = []
    for name in ("N_opt", "loss"):
        means = found.pivot_table(index="choice", columns="family", values=name).loc[list(CHOICES)]
        families = [family for family in FAMILIES if family in means]
        logs = np.log(means[families])
        rows = [(choice, *(f"{means.loc[choice, f]:.2%}" for f in means)) for choice in CHOICES]
        judged = []
        for family in families:
            chosen = logs.drop(columns=family).mean(axis=1).idxmin()
            judged.append((family, chosen, f"{means.loc[chosen, family]:.2%}", f"{means.loc[ALIKE, family]:.2%}"))
        parts += [f"## Error of {name}", markdown_table(("choice", *means), rows)]
        parts += [markdown_table(("judged on", "chosen on the others", "error", ALIKE), judged)]
    return "\n\n".join(parts)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    rows = []
    for name, table in (public_tables() | {"farseer": farseer()}).items():
        if family_of(name) in FAMILIES:
            rows += scores(family_of(name), small_studies(table))
    for name in EXACT:
        rows += scores("exact", exact_studies(name))
    text = report(pd.DataFrame(rows))
    print(text)
    if options.write:
        write_page(__file__, "How runs are weighted", text)


if __name__ == "__main__":
    main()
