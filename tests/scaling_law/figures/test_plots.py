"""The figures show what the law says, and matplotlib is loaded by nothing else."""

import re
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from flops_fit.drawing.drawn import Drawn
from flops_fit.scaling_law import fit_scaling_law
from flops_fit.scaling_law.figures.notebook import law_html
from flops_fit.scaling_law.figures.of_law import KINDS, law_figures
from flops_fit.scaling_law.figures.plot_data import frontier_data, isoflop_data, residual_data, run_names
from flops_fit.scaling_law.figures.plots import all_figures, figure_png, isoflop_figure, residual_figure
from flops_fit.scaling_law.figures.ratio_data import ratio_data
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


def test_every_budget_is_drawn_and_only_some_are_named_where_they_are_many():
    for budgets, named in ((14, 14), (30, 14)):
        runs = synthetic_runs(noise=0.004, compute_budgets=np.geomspace(1e17, 1e21, budgets), sizes_per_budget=4)
        many = fit_scaling_law(runs, bootstraps=10, form="chinchilla")
        assert len(isoflop_data(many).curves) == budgets
        figure = isoflop_figure(many)
        drawn = [
            line for line in figure.axes[0].get_lines() if line.get_linestyle() == "None" and line.get_marker() != "*"
        ]
        assert sum(len(line.get_xdata()) for line in drawn) == len(runs)
        texts = [text.get_text() for text in figure.legends[0].get_texts()]
        assert sum("10" in text and "the law" not in text for text in texts) == named
        assert ("14 of 30 budgets named" in figure.legends[0].get_title().get_text()) == (budgets == 30)


@pytest.mark.parametrize("losses", [3.0, 2.0 + 1e-9 * np.random.default_rng(0).standard_normal(35)])
def test_of_a_law_that_is_not_determined_the_runs_are_drawn_and_no_curve(losses):
    lost = fit_scaling_law(synthetic_runs(span=6).assign(loss=losses), bootstraps=10)
    data = isoflop_data(lost)
    assert sum(len(curve.N) for curve in data.curves) == 35
    assert not any(len(curve.law_N) for curve in data.curves)
    low, high = isoflop_figure(lost).axes[0].get_xlim()
    assert high / low < 1e5, "the picture is of the runs"


@pytest.mark.parametrize("scale", [1e-12, 1.0, 1e12])
def test_losses_of_any_size_are_drawn_and_said_with_few_digits(scale):
    law = fit_scaling_law(synthetic_runs(noise=0.003).assign(loss=lambda runs: runs.loss * scale), bootstraps=10)
    assert all(isinstance(figure, Drawn) for figure in law_figures(law).values())
    assert not re.search(r"\d{15}", law.summary())


def test_frontier_data_keeps_to_compute_and_reaches_a_hundred_times_beyond(law):
    data = frontier_data(law)
    assert data.C[-1] == pytest.approx(100 * law.runs.flops.max())
    np.testing.assert_allclose(6 * data.N * data.D, data.C)
    assert (data.N_band[:, 0] <= data.N).all()
    assert (data.N_band[:, 1] >= data.N).all()


def test_residuals_are_loss_above_the_law_and_have_one_median_a_budget(law):
    data, runs = residual_data(law), law.runs
    expected = np.log(runs.loss / law.loss(runs.num_params, runs.num_tokens))
    np.testing.assert_allclose(data.residual, expected, atol=1e-12)
    assert data.by_budget
    for i, budget in enumerate(sorted({float(f"{flops:.1e}") for flops in runs.flops})):
        own = [at for at, flops in enumerate(runs.flops) if abs(flops / budget - 1) < 0.05]
        assert len(own) > 3
        assert data.median_residual[i] == pytest.approx(np.median(expected[own]), abs=1e-12)
        assert data.median_params[i] == np.median(runs.num_params[own])
        assert data.median_tokens[i] == np.median(runs.num_tokens[own])
    assert len(data.median_residual) == len(runs.budgets)


def test_the_medians_are_drawn_once_for_each_panel_but_that_of_the_distance(law):
    data, panels = residual_data(law), residual_figure(law).axes
    for panel, x in zip(panels, (data.median_flops, None, data.median_params, data.median_tokens), strict=True):
        lines = [line for line in panel.lines if line.get_marker() == "s" and line.get_linestyle() == "-"]
        assert len(lines) == (x is not None)
        for line in lines:
            np.testing.assert_array_equal(line.get_xdata(), np.sort(x))
            assert set(line.get_ydata()) == set(data.median_residual)


def test_tokens_per_parameter_are_those_of_the_runs_and_of_the_optimum(law):
    data = ratio_data(law)
    np.testing.assert_allclose(data.run_ratio, law.runs.num_tokens / law.runs.num_params)
    for at in (0, 15, -1):
        optimum = law.predict(data.C[at])
        assert data.ratio[at] == pytest.approx(optimum["tokens_per_param"])
        draws = law.draws_of("tokens_per_param", data.C[at])
        assert tuple(data.band[at]) == pytest.approx(tuple(np.quantile(draws[np.isfinite(draws)], [0.05, 0.95])))
    assert data.C[-1] == pytest.approx(100 * law.runs.flops.max())


def test_every_figure_says_what_it_shows_in_words_and_numbers(law):
    made = law_figures(law)
    assert [*made] == [*KINDS]
    for name, figure in made.items():
        assert isinstance(figure, Drawn), name
        assert len(re.findall(r"\d[\d.e+]*", figure.alt)) >= 4, name
        assert figure.caption.endswith("."), name
    assert f"{law.a:.3f}" in made["exponents"].alt
    compute = float(law.isoflops[0].compute_budget)
    assert f"{law.L_opt(compute):.3f}"[:-1] in made["isoflop"].alt
    median = np.median(residual_data(law).residual[law.runs.budget == law.runs.budgets[0]])
    assert f"{median:+.2%} at" in made["residuals"].alt


def test_points_name_each_run_with_its_numbers(law):
    names = run_names(law)
    assert len(names) == len(law.runs)
    assert law.runs.experiment_id[3] in names[3]
    assert f"loss {law.runs.loss[3]:.4f}" in names[3]
    for figure in (isoflop_figure(law), residual_figure(law)):
        seen = [name for _, _, name in figure.seen_points()]
        assert set(seen) <= set(names)
        assert len(set(seen)) >= 0.95 * len(names), "all but a few wild ones"


def test_a_notebook_shows_verdict_table_and_figure(law):
    shown = law._repr_html_()
    assert shown == law_html(law)
    assert law.verdict.capitalize() in shown
    assert 'src="data:image/png;base64,' in shown
    for row in law.chinchilla_table().splitlines()[2:]:
        for cell in row.strip("| ").split(" | "):
            assert f">{cell}<" in shown
    assert law.plot()._repr_png_()[0].startswith(b"\x89PNG")


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
    figures = all_figures(fit_scaling_law(runs, bootstraps=60))
    assert list(figures) == list(KINDS), "in the order of the report"
    for name, figure in figures.items():
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
