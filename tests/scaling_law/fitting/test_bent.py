"""The law with a bend: recovered from its own runs, with exact derivatives."""

import numpy as np
import pytest
from bent_studies import MEMBER, bent_loss, bent_runs

from flops_fit.scaling_law.fitting.bent import _jacobian, fit_forms, log_loss, refit_form, to_members
from flops_fit.scaling_law.fitting.objective import centre
from flops_fit.scaling_law.mixture import mixed_loss


@pytest.fixture(scope="module")
def data():
    runs = bent_runs(noise=0.0)
    return centre(*(runs[name].to_numpy() for name in ("num_params", "num_tokens", "loss")))


def test_a_noise_free_bent_law_is_recovered_and_the_straight_one_is_not_enough(data):
    theta, scale = fit_forms(data, np.ones((1, len(data.n))))
    np.testing.assert_allclose(to_members(theta["bent"], data)[0], MEMBER, rtol=1e-3)
    far = (1e11, 1e13)
    assert mixed_loss(to_members(theta["bent"], data), *far)[()] == pytest.approx(bent_loss(*far), rel=1e-5)
    assert scale["chinchilla"][0] > 100 * scale["bent"][0]


def test_the_jacobian_is_that_of_the_log_loss(data):
    theta = np.array([[0.5, -0.3, 0.2, -0.8, -1.1, 0.4]])
    residual, jacobian = _jacobian(theta, data)
    np.testing.assert_allclose(residual, log_loss(theta, data) - data.log_loss)
    for k in range(6):
        step = np.eye(6)[k] * 1e-6
        slope = (log_loss(theta + step, data) - log_loss(theta - step, data)) / 2e-6
        np.testing.assert_allclose(jacobian[:, k], slope, rtol=1e-6, atol=1e-9)


def test_a_few_steps_of_a_refit_reach_where_many_do():
    runs = bent_runs(noise=0.003, seed=1)
    data = centre(*(runs[name].to_numpy() for name in ("num_params", "num_tokens", "loss")))
    theta, scale = fit_forms(data, np.ones((1, len(data.n))))
    counts = np.random.default_rng(0).multinomial(len(runs), np.full(len(runs), 1 / len(runs)), size=40).astype(float)
    few, many = (
        log_loss(refit_form(theta["bent"][0], scale["bent"][0], data, counts, "bent", iterations=steps), data)
        for steps in (4, 60)
    )
    spread = many.std(axis=0)
    assert (np.abs(few - many).mean(axis=0) < 0.1 * spread).mean() > 0.9
