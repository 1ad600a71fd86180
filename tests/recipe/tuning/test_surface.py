"""The response surface's derivatives, and its shape."""

import numpy as np
import pytest

from flops_fit.recipe.tuning.surface import Surface, skewed

SURFACE = Surface(count=3, cells=2)


@pytest.fixture(scope="module")
def at():
    """Parameters, and trials of three quantities in two cells."""
    random = np.random.default_rng(0)
    theta = 0.5 * random.standard_normal(SURFACE.size)
    return theta, random.standard_normal((7, 3)), random.standard_normal((7, 2)), np.array([0, 1, 1, 0, 0, 1, 0])


def log_loss(theta, x, place, cell):
    return theta[cell] + SURFACE.with_gradient(theta, x, place, cell)[0]


def test_every_parameter_has_its_place_once():
    places = [
        at for name in ("m", "p", "q", "log_h", "skew", "c", "stray", "fade") for at in range(99)[SURFACE.part(name)]
    ]
    assert [0, 1, *places] == list(range(SURFACE.size))


def test_derivatives_are_those_of_differences(at):
    theta, *trials = at
    _, gradient, _, _ = SURFACE.with_gradient(theta, *trials)
    step = 1e-6 * np.eye(SURFACE.size)
    differences = [(log_loss(theta + one, *trials) - log_loss(theta - one, *trials)) / 2e-6 for one in step]
    assert gradient == pytest.approx(np.array(differences).T, abs=1e-7)


def test_nothing_is_lost_at_the_optimum_and_something_everywhere_else(at):
    theta, _, place, cell = at
    best = -SURFACE.offsets(theta, np.zeros((7, 3)), place, cell)
    assert SURFACE.with_gradient(theta, best, place, cell)[0] == pytest.approx(np.zeros(7), abs=1e-12)
    assert (SURFACE.with_gradient(theta, best + 0.3, place, cell)[0] > 0).all()


def test_skew_is_what_a_step_up_costs_over_a_step_down():
    far, skew = 1e3, 0.7
    assert skewed(np.array(far), skew) / skewed(np.array(-far), skew) == pytest.approx(np.exp(2 * skew), rel=1e-5)
    step = 1e-4
    assert 2 * skewed(np.array(step), skew) / step**2 == pytest.approx(1.0, rel=1e-3)
