"""Do the intervals of a metric hold? `python benchmarks/from_loss.py` (two minutes on one core) prints the shares.

60 synthetic studies for each line: 35 runs with noise of 0.3 % in the loss, a sigmoid of the loss with noise in the
metric, read at ten times the largest budget; whether its 90 % intervals hold the truth there, and a new run.
"""

import numpy as np

from flops_fit import fit_metric, fit_scaling_law
from flops_fit.scaling_law.from_loss.sigmoid import sigmoid
from flops_fit.synthetic import synthetic_runs

STUDIES, LOSS_NOISE = 60, 0.003
TRUE = np.array([0.25, 0.95, 3.0, 2.6])  # floor, ceiling, slope, midpoint


def held(sigma: float, floor: float | None, generator: np.random.Generator) -> tuple[float, float, float]:
    """Share of the studies whose interval holds the truth, and a new run; mean width of the latter's."""
    true_law = fit_scaling_law(synthetic_runs(noise=0.0), bootstraps=20)
    compute = 10 * float(true_law.runs.flops.max())
    loss = true_law.L_opt(compute)
    of_mean, of_run, widths = 0, 0, []
    for seed in range(STUDIES):
        runs = synthetic_runs(noise=LOSS_NOISE, seed=seed)
        law = fit_scaling_law(runs, bootstraps=200, form="chinchilla")
        runs = runs.assign(accuracy=sigmoid(TRUE, runs.loss) + sigma * generator.standard_normal(len(runs)))
        metric = fit_metric(law, runs, "accuracy", resamples=200, floor=floor)
        low, high = metric.interval(compute, new_run=False)
        of_mean += low <= sigmoid(TRUE, loss) <= high
        low, high = metric.interval(compute)
        noise = generator.standard_normal(2)
        of_run += low <= min(sigmoid(TRUE, loss * np.exp(LOSS_NOISE * noise[0])) + sigma * noise[1], 1) <= high
        widths.append(high - low)
    return of_mean / STUDIES, of_run / STUDIES, float(np.mean(widths))


if __name__ == "__main__":
    rng = np.random.default_rng(0)
    for sigma in (0.005, 0.02):
        for floor in (None, 0.25):
            mean, run, width = held(sigma, floor, rng)
            print(f"noise {sigma}, floor {floor}: the truth in {mean:.0%}, a new run in {run:.0%}, width {width:.3f}")
