"""Rounds on laws that are known: is the interval right when a study stops, and what does a grid need for as much?

    OMP_NUM_THREADS=1 python benchmarks/adaptive_synthetic.py [--count 20] [--jobs 2] [--write]

Exact laws are the five of flops_fit.synthetic in turn, bent ones the same with `(A/N^alpha + B/D^beta)^gamma`, gamma
0.5 to 0.8; 0.3 % noise on every loss, drawn anew for every study. A grid of 5 budgets (1e18 to 1e20 FLOPs) with 7 sizes
each asks for 1e21 FLOPs. The study in rounds has 35 % of the grid's FLOPs and the same question. Printed: how often the
truth was inside the 90 % intervals when the study first stopped with its default wishes (or had spent its total), what
it had spent then, and the median error of N_opt when all was spent, over that of the grid. About 10 s a study.
"""

from __future__ import annotations

import argparse
import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests" / "helpers"))

from played_rounds import Played, adaptive_study
from written import write_page

from flops_fit.adaptive.next_round import is_certain
from flops_fit.basics.formatting import markdown_table
from flops_fit.results.results import ExperimentResult
from flops_fit.scaling_law import fit_scaling_law
from flops_fit.synthetic import CHINCHILLA, DATA_HEAVY, MODEL_HEAVY, REPLICATION, SYMMETRIC, synthetic_runs

LAWS = (CHINCHILLA, REPLICATION, SYMMETRIC, DATA_HEAVY, MODEL_HEAVY)
TARGET, NOISE, SHARE = 1e21, 0.003, 0.35
BUDGETS, SIZES = np.geomspace(1e18, 1e20, 5), 7
HEADERS = ("laws", "studies", "stopped certain", "N_opt inside", "loss inside", "FLOPs at the stop, of the grid's",
           "N_opt error in rounds", "of the grid", "in rounds over grid")  # fmt: skip


class Truth:
    """A law with gamma, of which the loss above E at 1e20 FLOPs is that of the law without."""

    def __init__(self, law, gamma):
        self.law, self.gamma = law, gamma
        self.A, self.B = law.A ** (1 / gamma), law.B ** (1 / gamma)
        self.alpha, self.beta = law.alpha / gamma, law.beta / gamma

    def loss(self, N, D):
        return self.law.E + (self.A * N**-self.alpha + self.B * D**-self.beta) ** self.gamma

    def N_opt(self, C):
        """Hoffmann et al. 2022, equation 4; gamma moves no optimum."""
        G = (self.alpha * self.A / (self.beta * self.B)) ** (1 / (self.alpha + self.beta))
        return G * (C / 6) ** (self.beta / (self.alpha + self.beta))


def study(case):
    """What one study came to: see `HEADERS`."""
    kind, index = case
    generator = np.random.default_rng([index, kind == "bent"])
    gamma = generator.uniform(0.5, 0.8) if kind == "bent" else 1.0
    truth = Truth(LAWS[index % len(LAWS)], gamma)
    N = truth.N_opt(TARGET)
    loss = truth.loss(N, TARGET / 6 / N)
    table = synthetic_runs(compute_budgets=BUDGETS, sizes_per_budget=SIZES, noise=NOISE, seed=index,
                           transform=lambda N, D, _: truth.loss(N, D))  # fmt: skip
    grid = fit_scaling_law(table)
    total = float(table["flops"].sum())

    def train(experiment):
        exact = truth.loss(float(experiment.num_params), float(experiment.num_tokens))
        return ExperimentResult.of(
            experiment,
            num_tokens=experiment.num_tokens,
            flops=experiment.planned_flops,
            status="completed",
            loss=float(exact * np.exp(NOISE * generator.standard_normal())),
            seconds=1.0,
        )

    asked = {"target_budget": TARGET, "total_compute": SHARE * total, "round_size": 4}
    wished = adaptive_study(**asked).adaptive
    played = Played(adaptive_study(**asked, N_opt_within=1.0001), train=train)
    stop = None
    while not (now := played.step()).step.stopped:
        if stop is None and now.answer is not None and is_certain(now.answer, wished):
            stop = now.answer
    last = now.answer
    at = stop or last
    return {
        "certain": stop is not None,
        "N": at.N_opt_low <= N <= at.N_opt_high,
        "loss": at.loss_low <= loss <= at.loss_high,
        "spent": at.flops / total,
        "error": abs(np.log(last.N_opt / N)),
        "grid": abs(np.log(float(grid.N_opt(TARGET)) / N)),
    }


def summary(kind, found):
    """A row of the table."""
    mean = {name: float(np.mean([row[name] for row in found])) for name in ("certain", "N", "loss")}
    middle = {name: float(np.median([row[name] for row in found])) for name in ("spent", "error", "grid")}
    return (
        kind,
        len(found),
        f"{mean['certain']:.0%}",
        f"{mean['N']:.0%}",
        f"{mean['loss']:.0%}",
        f"{middle['spent']:.0%}",
        f"{middle['error']:.3f}",
        f"{middle['grid']:.3f}",
        f"{middle['error'] / middle['grid']:.2f}",
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=20)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--write", action="store_true")
    given = parser.parse_args()
    rows = []
    with ProcessPoolExecutor(given.jobs) as pool:
        for kind in ("exact", "bent"):
            rows.append(summary(kind, list(pool.map(study, [(kind, index) for index in range(given.count)]))))
            print(*rows[-1], flush=True)
    table = markdown_table(HEADERS, rows)
    print(table)
    if given.write:
        write_page(__file__, "Rounds on known laws", f"{__doc__.partition('Exact laws')[0].splitlines()[0]}\n\n{table}")


if __name__ == "__main__":
    main()
