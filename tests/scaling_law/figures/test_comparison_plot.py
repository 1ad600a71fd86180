"""The figure of two laws shows both curves, what lies between them, and where they cross."""

import numpy as np
import pytest

from flops_fit.drawing.render import figure_png
from flops_fit.scaling_law import compare_laws, fit_scaling_law
from flops_fit.scaling_law.figures.comparison_data import comparison_data
from flops_fit.synthetic import KnownLaw, synthetic_runs

STEEP = KnownLaw(E=1.7, A=1300.0, B=1300.0, alpha=0.35, beta=0.35)
FLAT = KnownLaw(E=1.8, A=1100.0, B=1100.0, alpha=0.35, beta=0.35)


@pytest.fixture(scope="module")
def laws():
    return {
        name: fit_scaling_law(synthetic_runs(law, noise=0.002, seed=at), bootstraps=100)
        for at, (name, law) in enumerate({"steep": STEEP, "flat": FLAT}.items())
    }


def test_the_ratio_of_the_curves_is_one_where_they_cross_and_within_its_band(laws):
    (crossing,) = compare_laws(laws, at=1e22).crossings
    data = comparison_data([*laws.values()], [1e22], [crossing.compute])

    assert np.interp(np.log(crossing.compute), np.log(data.C), data.ratio) == pytest.approx(1, abs=1e-3)
    assert ((data.ratio_band[:, 0] <= data.ratio) & (data.ratio <= data.ratio_band[:, 1])).all()
    assert data.C[[0, -1]] == pytest.approx([1e18, 1e22])
    assert data.losses[1] / data.losses[0] == pytest.approx(data.ratio)


def test_it_is_drawn_with_both_names_and_every_target(laws):
    figure = compare_laws(laws, at=[1e20, 1e22]).plot()
    curves, ratio = figure.axes

    said = " ".join(text.get_text() for text in curves.get_legend().get_texts())
    assert "steep" in said
    assert "flat" in said
    assert "cross" in said
    assert ratio.get_title(loc="left") == "Below 0: flat is better"
    vertical = [line.get_xdata()[0] for line in ratio.get_lines() if len(set(line.get_xdata())) == 1]
    assert {1e20, 1e22} <= set(vertical)
    assert figure_png(figure).startswith(b"\x89PNG")
