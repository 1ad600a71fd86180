"""The figures show what the law says, and matplotlib is loaded by nothing else."""

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from flops_fit.scaling_law import fit_scaling_law
from flops_fit.scaling_law.figures.plot_data import frontier_data, isoflop_data, residual_data
from flops_fit.scaling_law.figures.plots import all_figures, figure_png, isoflop_figure
from flops_fit.synthetic import REPLICATION, synthetic_runs


@pytest.fixture(scope="module")
def law():
    return fit_scaling_law(synthetic_runs(noise=0.003, seed=2), bootstraps=100)


def test_isoflop_data_has_every_run_and_the_minima(law):
    data = isoflop_data(law)
    assert len(data.curves) == 5
    assert sum(len(curve.N) for curve in data.curves) == len(law.runs)
    for curve in data.curves:
        assert curve.law_loss.min() == pytest.approx(curve.law_minimum[1], rel=1e-3)
        assert curve.own_minimum[0] == pytest.approx(float(REPLICATION.N_opt(curve.compute_budget)), rel=0.2)


def test_frontier_data_keeps_to_compute_and_reaches_a_hundred_times_beyond(law):
    data = frontier_data(law)
    assert data.C[-1] == pytest.approx(100 * law.runs.flops.max())
    np.testing.assert_allclose(6 * data.N * data.D, data.C)
    assert (data.N_band[:, 0] <= data.N).all()
    assert (data.N_band[:, 1] >= data.N).all()


def test_residuals_are_loss_above_the_law(law):
    data = residual_data(law)
    expected = np.log(law.runs.loss / law.loss(law.runs.num_params, law.runs.num_tokens))
    np.testing.assert_allclose(data.residual, expected, atol=1e-12)


# Budget, parameters, tokens, loss of a study with a parabola that lies below all runs
NOISY = [
    (300000, 15, 3333, 1.0574),
    (300000, 26, 1923, 0.9119),
    (300000, 48, 1042, 0.9271),
    (300000, 125, 400, 0.8166),
    (300000, 290, 172, 0.7757),
    (600000, 15, 6667, 1.0376),
    (600000, 26, 3846, 0.8034),
    (600000, 70, 1429, 0.6121),
    (600000, 169, 592, 0.5677),
    (600000, 433, 231, 0.6037),
    (1.2e06, 15, 13333, 1.0343),
    (1.2e06, 37, 5405, 0.5937),
    (1.2e06, 103, 1942, 0.4728),
    (1.2e06, 235, 851, 0.4842),
    (1.2e06, 620, 323, 0.5061),
]


def test_no_minimum_is_cut_off_where_a_parabola_lies_below_its_runs():
    runs = pd.DataFrame(NOISY, columns=["compute_budget", "num_params", "num_tokens", "loss"])
    law = fit_scaling_law(runs.assign(flops=6 * runs.num_params * runs.num_tokens), bootstraps=60)
    minima = [curve.own_minimum[1] for curve in isoflop_data(law).curves if curve.own_minimum]
    assert min(minima) < runs.loss.min()
    low, high = isoflop_figure(law).axes[0].get_ylim()
    assert all(low < loss < high for loss in minima)


@pytest.mark.parametrize(
    "runs",
    [
        synthetic_runs(noise=0.002, compute_budgets=(1e18,)),
        synthetic_runs(noise=0.01, off_centre=12, compute_budgets=(1e18, 3e18), broken_fraction=0.3),
        synthetic_runs(noise=0.004, compute_budgets=np.geomspace(1e18, 1e20, 12)),
        synthetic_runs(noise=0.004).drop(columns=["compute_budget"]).assign(flops=lambda t: t["flops"] * t["loss"]),
    ],
    ids=["one budget", "broken", "many budgets", "no budgets"],
)
def test_every_figure_can_be_drawn_for_any_study(runs):
    for name, figure in all_figures(fit_scaling_law(runs, bootstraps=60)).items():
        assert figure_png(figure, dpi=40).startswith(b"\x89PNG"), name
        assert all(axes.get_xlabel() or axes.get_ylabel() for axes in figure.axes), name


def test_only_plots_loads_matplotlib_and_fitting_loads_no_torch():
    code = (
        "import sys, flops_fit.scaling_law, flops_fit.synthetic\n"
        "import flops_fit.scaling_law.figures.plot_data, flops_fit.report.report\n"
        "flops_fit.scaling_law.fit_scaling_law(flops_fit.synthetic.synthetic_runs(), bootstraps=5).summary()\n"
        "assert not {'torch', 'dagster', 'matplotlib', 'scipy.stats'} & set(sys.modules)  # half a second the last\n"
        "import flops_fit.scaling_law.figures.plots\n"
        "assert 'matplotlib' in sys.modules and 'matplotlib.pyplot' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
