"""The demo over four seeds: `python benchmarks/seeds.py [DIRECTORY]`, about five minutes on two cores.

Are the minima of every budget interior with every seed, how far do seeds scatter, what exponent do all runs give?
Results stay in DIRECTORY (default: a temporary one) and are not trained again.
"""

from __future__ import annotations

import dataclasses
import sys
import tempfile
from pathlib import Path

from flops_fit import Study
from flops_fit.basics.formatting import format_count, format_flops, markdown_table
from flops_fit.stages import fit_study, study_plan, study_size_map
from flops_fit.training.side_by_side import train_all

DEMO = Path(__file__).resolve().parent.parent / "flops_fit" / "examples" / "demo" / "study.toml"
SEEDS = (0, 1, 2, 3)


def main(directory):
    """Train what is missing in `directory` and print the tables."""
    demo = Study.from_toml(DEMO)
    study = dataclasses.replace(demo, sweep=dataclasses.replace(demo.sweep, seeds=SEEDS))
    plan = study_plan(study, study_size_map(study))
    results = train_all(study, plan.experiments, output_dir=Path(directory) / "runs")
    laws = {seed: fit_study(study, plan, [run for run in results if run.seed == seed]) for seed in SEEDS}
    print(minima_table(laws))
    interior = sum(minimum.interior for law in laws.values() for minimum in law.isoflops)
    print(f"\ninterior minima: {interior} of {sum(len(law.isoflops) for law in laws.values())} (wanted: all)")
    print(f"standard deviation over seeds of one loss: {scatter(results):.4f} nats pooled (wanted: <= 0.02)")
    pooled = fit_study(study, plan, results)
    low, high = pooled.interval("a")
    print(f"exponent a of all {len(results)} runs: {pooled.a:.3f} [{low:.3f}, {high:.3f}] (wanted: 0.45 +- 0.05)")
    print(pooled.summary())


def minima_table(laws):
    """A row per budget, a column per seed: N at the minimum of the budget's own curve."""
    budgets = [minimum.compute_budget for minimum in laws[SEEDS[0]].isoflops]
    rows = [
        [format_flops(budget), *(format_count(law.isoflops[row].N) for law in laws.values())]
        for row, budget in enumerate(budgets)
    ]
    rows.append(["a", *(f"{law.a:.3f}" for law in laws.values())])
    return markdown_table(["budget", *(f"seed {seed}" for seed in laws)], rows)


def scatter(results):
    """Root mean square over experiments of the standard deviation over seeds, in nats."""
    losses: dict[tuple[float, int], list[float]] = {}
    for run in results:
        losses.setdefault((run.compute_budget, run.size_param_value), []).append(run.loss)
    variances = []
    for values in losses.values():
        mean = sum(values) / len(values)
        variances.append(sum((value - mean) ** 2 for value in values) / (len(values) - 1))
    print(f"largest standard deviation over seeds of one experiment: {max(variances) ** 0.5:.4f} nats")
    return (sum(variances) / len(variances)) ** 0.5


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as temporary:
        main(sys.argv[1] if len(sys.argv) > 1 else temporary)
