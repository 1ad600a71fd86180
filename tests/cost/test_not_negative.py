"""Least squares of terms none of which may be negative, against SciPy's active-set method."""

import numpy as np
import pytest
from scipy.optimize import nnls

from flops_fit.cost.not_negative import fit_not_negative


@pytest.mark.parametrize("seed", range(40))
def test_it_is_the_least_that_there_is(seed):
    draw = np.random.default_rng(seed)
    rows = draw.normal(size=(int(draw.integers(3, 12)), 3)) + 0.5
    goal = draw.normal(size=len(rows)) + 0.5
    found, (_, least) = fit_not_negative(rows, goal), nnls(rows, goal)
    assert (found >= 0).all()
    assert np.linalg.norm(rows @ found - goal) == pytest.approx(least, rel=1e-4)


def test_terms_that_nothing_tells_of_are_nothing():
    rows = np.array([[0.0, 0.0, 2.0], [0.0, 0.0, 4.0]])
    assert fit_not_negative(rows, np.array([1.0, 2.0])).tolist() == pytest.approx([0.0, 0.0, 0.5])
    assert fit_not_negative(np.zeros((2, 3)), np.ones(2)).tolist() == [0.0, 0.0, 0.0]


def test_of_equally_good_choices_the_first_is_taken():
    one_row = np.array([[1.0, 2.0, 4.0]])
    assert fit_not_negative(one_row, np.ones(1), [(2,), (0,)]).tolist() == pytest.approx([0.0, 0.0, 0.25])
    assert fit_not_negative(one_row, np.ones(1), [(0,), (2,)]).tolist() == pytest.approx([1.0, 0.0, 0.0])
