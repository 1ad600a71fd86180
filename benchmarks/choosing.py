"""What it costs to choose the next experiments: `OMP_NUM_THREADS=1 python benchmarks/choosing.py`.

Processor seconds for a round of 8 among 1,000 candidates, of a law of 35 runs that is fitted already: by the ladder,
and where no bend shows and a round narrows instead. The median of five. Wanted: at most 0.25 s.
"""

from __future__ import annotations

import time
from statistics import median

import numpy as np

from flops_fit import fit_scaling_law
from flops_fit.basics.formatting import markdown_table
from flops_fit.scaling_law.next_experiments import Candidate, next_experiments
from flops_fit.synthetic import REPLICATION, synthetic_runs

TARGET, TOTAL, ROUND = 1e21, 3e20, 8


def candidates():
    """1,000: 40 budgets with 25 sizes each."""
    sizes = np.exp(np.linspace(-3, 3, 25))
    pairs = [(float(REPLICATION.N_opt(C) * size), C) for C in np.geomspace(1e18, 1e20, 40) for size in sizes]
    return [Candidate(num_params=N, num_tokens=C / 6 / N, flops=C, label=str(at)) for at, (N, C) in enumerate(pairs)]


def seconds(law, runs, given, *, narrows):
    """Processor seconds of one choice."""
    began = time.process_time()
    next_experiments(runs, given, ROUND, target=TARGET, law=law, flops_left=TOTAL, more_follow=narrows)
    return time.process_time() - began


def main():
    runs, given = synthetic_runs(noise=0.003, seed=4), candidates()
    law = fit_scaling_law(runs)
    law.optimum_draws(TARGET)  # asked for by every answer, and kept
    rows = []
    for name, narrows in (("ladder", False), ("narrowing", True)):
        taken = median(seconds(law, runs, given, narrows=narrows) for _ in range(5))
        rows.append((name, len(given), f"{taken:.2f} s"))
    print(markdown_table(("way", "candidates", f"a round of {ROUND}"), rows))


if __name__ == "__main__":
    main()
