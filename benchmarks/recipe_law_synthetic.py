"""Recipes whose optimum is known: is its exponent found within its interval, and what is lost at the largest size?

    OMP_NUM_THREADS=1 python benchmarks/recipe_law_synthetic.py [--count 100] [--trials 30] [--write]

The surfaces are not of the form that is fitted: log loss grows above the best rate as an exponential, below it as a
line (`a (exp(b v) - 1 - b v)`), in the batch likewise, and each cell's optimum strays from the power law (by 0 to 15
%). Drawn anew for every study: curvature, asymmetry, how curvature changes with N (N^-0.25 to N^0.1), how the best
rate moves with the batch, noise (0.1 to 0.4 % of the loss), how far the guess is off (up to a factor 10 in the rate
and 5 in the batch), and every other exponent, within two standard deviations of what the fit believes beforehand.
Kinds: `width` (the best rate falls as width^-1, N ~ width^2, so N^-0.5), `flat` (as with muP: N^0; belief is -0.35
with a standard deviation of 0.35), and `edge` (as `width`, and what is more than 1.5 to 4 times above the best rate
for its batch has no loss). Trials are chosen in rounds of five at five cells of 1M to 16M parameters and 10M to 80M
tokens; the law is judged at 250M parameters and 5B tokens, where one training takes 75 times the FLOPs that the
trials may take together. About 2 s a study.
"""

from __future__ import annotations

import argparse
import math

import numpy as np
from written import write_page

from flops_fit.basics.formatting import markdown_table
from flops_fit.recipe.tuning import Trial, Tuned, fit_recipe_law, next_trials

CELLS = ((1e6, 1e7), (1e6, 4e7), (4e6, 2e7), (4e6, 8e7), (1.6e7, 8e7))
TARGET = (2.5e8, 5e9)
FLOPS = 1e17  # for the trials; one at the largest cell takes 8e15, one at the target 7.5e18
KINDS = {"width": -0.5, "flat": 0.0, "edge": -0.5}
HEADERS = ("kind", "studies", "exponent of N inside", "of D inside", "batch's of D inside", "rate inside",
           "batch inside", "exponent of N: mean", "half width", "excess: median", "mean", "target diverges",
           "expected: mean", "trials diverged")  # fmt: skip


class Truth:
    """One study's surface."""

    def __init__(self, kind, index):
        self.random = random = np.random.default_rng([index, list(KINDS).index(kind)])
        self.rate = (10 ** random.uniform(-3, -1), KINDS[kind], random.uniform(-0.5, 0.5))
        self.batch = (10 ** random.uniform(3.5, 5), random.uniform(-0.35, 0.45), random.uniform(0.05, 0.85))
        self.curvature = np.exp(random.uniform(*np.log([0.005, 0.03]))), np.exp(random.uniform(*np.log([0.003, 0.02])))
        self.skew = random.uniform(0.3, 1.5), random.uniform(-0.5, 1.0)
        self.tilt, self.noise = random.uniform(0.2, 0.9), random.uniform(0.001, 0.004)
        self.edge = math.log(random.uniform(1.5, 4)) if kind == "edge" else math.inf
        stray, self.fade = random.uniform(0, 0.15), random.uniform(-0.25, 0.1)
        self.stray = {cell: stray * random.standard_normal(2) for cell in CELLS}
        off = random.uniform(-1, 1, 2) * np.log([10, 5])
        rate, batch = np.exp(np.array(self.best(*CELLS[0])) + off)
        self.tuned = (
            Tuned(name="learning_rate", guess=float(rate), low=1e-7, high=100.0),
            Tuned(name="batch_tokens", guess=float(batch), low=1.0, high=1e10),
        )

    def best(self, N, D):
        """Logarithms of the best rate and batch."""
        place = np.array([1.0, math.log(N / 1e6), math.log(D / 2e7)])
        return tuple(float(np.dot([math.log(c), p, q], place)) for c, p, q in (self.rate, self.batch))

    def excess(self, cell, values):
        """Log loss above the best; infinite where it diverges."""
        stray = self.stray.get(cell, (0.0, 0.0))
        u = [math.log(values[item.name]) - best - off
             for item, best, off in zip(self.tuned, self.best(*cell), stray, strict=True)]  # fmt: skip
        v = (u[0] - self.tilt * u[1], u[1])
        if v[0] > self.edge:
            return math.inf
        return sum(
            h * (math.exp(b * x) - 1 - b * x) / b**2 for h, b, x in zip(self.curvature, self.skew, v, strict=True)
        )

    def train(self, trial):
        """`trial` with its loss."""
        excess = self.excess(trial.cell, trial.values) + self.noise * self.random.standard_normal()
        level = math.log(1.8 + 12 * trial.num_params**-0.2 + 60 * trial.num_tokens**-0.3)
        loss = math.exp(level + excess) if excess < 2 else None
        return Trial(num_params=trial.num_params, num_tokens=trial.num_tokens, values=trial.values, loss=loss)


def study(kind, index, count):
    """The truth, the law and the trials of one study."""
    truth, trials, flops = Truth(kind, index), [], FLOPS
    while chosen := next_trials(trials, CELLS, truth.tuned, count=5, targets=[TARGET],
                                trials_left=count - len(trials), flops_left=flops):  # fmt: skip
        trials += map(truth.train, chosen)
        flops -= sum(6 * trial.num_params * trial.num_tokens for trial in chosen)
    return truth, fit_recipe_law(trials, truth.tuned), trials


def judged(truth, law, trials):
    """What one study came to."""
    inside = {}
    for name, exponents in (("learning_rate", truth.rate), ("batch_tokens", truth.batch)):
        for at, of in enumerate(("num_params", "num_tokens")):
            _, low, high = law.exponent(name, of)
            inside[name, of] = low <= exponents[1 + at] <= high
    best = dict(zip(law.names, np.exp(truth.best(*TARGET)), strict=True))
    for name in law.names:
        low, high = law.interval(name, *TARGET)
        inside[name] = low <= best[name] <= high
    middle, low, _ = law.exponent("learning_rate", "num_params")
    values = {name: law.value(name, *TARGET) for name in law.names}
    return {
        **inside,
        "exponent": middle,
        "half": middle - low,
        "excess": math.expm1(truth.excess(TARGET, values)),
        "expected": law.expected_excess(*TARGET),
        "diverged": sum(trial.loss is None for trial in trials) / len(trials),
    }


def row(kind, found):
    """A row of the table."""
    shares = (("learning_rate", "num_params"), ("learning_rate", "num_tokens"), ("batch_tokens", "num_tokens"),
              "learning_rate", "batch_tokens")  # fmt: skip
    excess = np.array([one["excess"] for one in found])
    return (
        kind,
        len(found),
        *(f"{np.mean([one[name] for one in found]):.0%}" for name in shares),
        f"{np.mean([one['exponent'] for one in found]):.2f}",
        f"{np.median([one['half'] for one in found]):.2f}",
        f"{np.median(excess):.2%}",
        f"{np.mean(excess[np.isfinite(excess)]):.2%}",
        f"{np.mean(np.isinf(excess)):.0%}",
        f"{np.mean([one['expected'] for one in found]):.2%}",
        f"{np.mean([one['diverged'] for one in found]):.0%}",
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--trials", type=int, default=30)
    parser.add_argument("--write", action="store_true")
    given = parser.parse_args()
    rows = []
    for kind in KINDS:
        rows.append(row(kind, [judged(*study(kind, index, given.trials)) for index in range(given.count)]))
        print(*rows[-1], sep=" | ", flush=True)
    table = markdown_table(HEADERS, rows)
    print(table)
    if given.write:
        text = __doc__.partition("\n\n")[2].partition("\n\n")[2]
        write_page(__file__, "Recipes whose optimum is known", f"{text}\n{given.trials} trials a study.\n\n{table}")


if __name__ == "__main__":
    main()
