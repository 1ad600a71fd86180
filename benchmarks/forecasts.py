"""How do sealed forecasts come out, scored as a study's own are?

    OMP_NUM_THREADS=1 python benchmarks/forecasts.py [--studies 120]

Synthetic studies of an exact law (5 budgets of 7 sizes, noise 0.3 %) forecast 10 and 30 times their largest budget,
where 7 sizes are then trained. Of every public table the largest one, two and three budgets are left out, forecast and
scored.
"""

from __future__ import annotations

import argparse

from holdouts import FAMILIES, family_of
from tables import public_tables

from flops_fit import Forecast, fit_scaling_law
from flops_fit.errors import FitError
from flops_fit.scaling_law.forecasts.calibration import Calibration, calibrate
from flops_fit.scaling_law.table.runs import read_runs
from flops_fit.synthetic import synthetic_runs

BEYOND = (1e21, 3e21)
COLUMNS = ["num_params", "num_tokens", "flops", "loss", "compute_budget"]


def of_synthetic(studies: int) -> Calibration:
    """All targets of all studies together."""
    found = []
    for seed in range(studies):
        made = fit_scaling_law(synthetic_runs(noise=0.003, seed=seed)).forecast(BEYOND)
        later = synthetic_runs(noise=0.003, seed=10_000 + seed, compute_budgets=BEYOND)
        found.append(made.score(later))
    return Calibration(scores=tuple(score for calibration in found for score in calibration.scores))


def of_table(table: object) -> Calibration:
    """The forecasts of the largest one, two and three budgets by laws of the rest; nothing without budgets enough."""
    runs = read_runs(table)
    forecasts: list[Forecast] = []
    for left_out in (1, 2, 3):
        if len(runs.budgets) - left_out < 3:
            break
        rest = (
            runs.subset(runs.budget < runs.budgets[-left_out]).to_frame().rename(columns={"budget": "compute_budget"})
        )
        try:
            forecasts.append(fit_scaling_law(rest[COLUMNS]).forecast(runs.budgets[-left_out:]))
        except FitError as error:
            print(f"  {left_out} left out: {error}")
    return calibrate(forecasts, runs)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--studies", type=int, default=120)
    print("synthetic", *of_synthetic(parser.parse_args().studies).record(), sep="\n  ")
    together = []
    for name, table in public_tables().items():
        found = of_table(table)
        together += found.scores if family_of(name) in FAMILIES else ()
        print(name, *found.record(), sep="\n  ")
    print("all public tables of trained models", *Calibration(scores=tuple(together)).record(), sep="\n  ")


if __name__ == "__main__":
    main()
