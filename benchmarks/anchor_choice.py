"""Does moving laws onto the largest budget help a family of tables that had no say in how?

    OMP_NUM_THREADS=1 python benchmarks/anchor_choice.py

Some ten minutes. The numbers of `flops_fit/scaling_law/anchor.py` are chosen from a grid on five families of public
tables (the lowest mean log error near the valley, of N_opt and of the loss at the minimum, on the hold-outs of
holdout.py), and judged on the sixth, in turn: errors over those of the same laws not moved.
"""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
from forecasters import Forecast
from holdout import by_family, geometric, score
from holdouts import FAMILIES, hold_outs
from tables import farseer, public_tables

from flops_fit import fit_scaling_law
from flops_fit.basics.formatting import markdown_table
from flops_fit.scaling_law import anchor as anchoring
from flops_fit.scaling_law.checks.holdout import compute_groups
from flops_fit.scaling_law.mixture import as_members, mixed_loss, mixed_optimum

GRID = {
    "RECENT": (0.15, 0.2, 0.25, 0.4),
    "SIZE_PRIOR": (0.1, 0.2),
    "E_PRIOR": (1e-9, 0.0125, 0.025, 0.05),
    "VALLEY": (0.7, 1.0, 1.4),
}
ERRORS = {"rms": geometric, "N_error": np.mean, "L_error": np.mean, "regret": np.mean}
JUDGED_BY = ("rms", "N_error", "L_error")


def fitted_laws():
    """(hold-out, law, its members not moved, the noise of a run) wherever the runs bend or not."""
    found = []
    for name, table in (public_tables() | {"farseer": farseer()}).items():
        for held in hold_outs(name, table):
            law = fit_scaling_law(held.train, bootstraps=2)
            chosen = [candidate for candidate in law.candidates if candidate.chosen]
            bent = law.form == "bent"
            own = np.array([each.parameters for each in chosen]) if bent else as_members(law.parameters)
            found.append((held, law, own, np.mean([each.sigma for each in chosen]) if chosen else None))
    return found


def figures(laws, numbers):
    """Each error by family with the laws moved by `numbers` of the grid; with None, not moved."""
    for name, value in (numbers or {}).items():
        setattr(anchoring, name, value)
    rows = []
    for held, law, own, scale in laws:
        members, per_token = own, law.flops_per_token
        if numbers and scale is not None:
            group = compute_groups(law.runs)
            top = float(np.median(law.runs.flops[group == group.max()]))
            members = anchoring.anchor(own, law.runs, top, per_token, scale).members

        def size(C, members=members, per_token=per_token):
            return mixed_optimum(members, C, per_token)

        def loss(N, D, members=members):
            return mixed_loss(members, N, D)

        def lowest(C, size=size, loss=loss, per_token=per_token):
            return loss(size(C), C / per_token(size(C)))

        rows += score(Forecast(N_opt=size, L_opt=lowest, loss=loss), held)
    scores = pd.DataFrame(rows)
    return {error: by_family(scores, error, mean) for error, mean in ERRORS.items()}


def main():
    laws = fitted_laws()
    still = figures(laws, None)
    combinations = [dict(zip(GRID, values, strict=True)) for values in itertools.product(*GRID.values())]
    ratios = []
    for numbers in combinations:
        moved = figures(laws, numbers)
        ratios.append({error: {f: moved[error][f] / still[error][f] for f in FAMILIES} for error in ERRORS})
    rows = []
    for family in FAMILIES:
        others = [other for other in FAMILIES if other != family]
        means = [np.mean([np.log(ratio[error][f]) for error in JUDGED_BY for f in others]) for ratio in ratios]
        best = int(np.argmin(means))
        chosen = ", ".join(f"{name} {value}" for name, value in combinations[best].items())
        rows.append((family, chosen, *(ratios[best][error][family] for error in ERRORS)))
    whole = ("all", "", *(geometric(row[i + 2] for row in rows) for i in range(len(ERRORS))))
    shown = [(*row[:2], *(f"{value:.2f}" for value in row[2:])) for row in (*rows, whole)]
    print(markdown_table(("judged on", "chosen without it", *ERRORS), shown))


if __name__ == "__main__":
    main()
