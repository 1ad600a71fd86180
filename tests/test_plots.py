"""The figures show what the law says, and matplotlib is loaded by nothing else."""

import subprocess
import sys

import numpy as np
import pytest

from flops_fit.plots import all_figures, figure_png, frontier_data, isoflop_data, residual_data
from flops_fit.scaling_law import fit_scaling_law
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
        "import sys, flops_fit.scaling_law, flops_fit.synthetic, flops_fit.plot_data, flops_fit.report\n"
        "flops_fit.scaling_law.fit_scaling_law(flops_fit.synthetic.synthetic_runs(), bootstraps=5).summary()\n"
        "assert not {'torch', 'dagster', 'matplotlib'} & set(sys.modules)\n"
        "import flops_fit.plots\n"
        "assert 'matplotlib' in sys.modules and 'matplotlib.pyplot' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
