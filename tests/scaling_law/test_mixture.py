"""Several laws as one: their mean log loss, and the N where it is lowest."""

import numpy as np
import pytest
from bent_studies import MEMBER, bent_loss, bent_optimum
from scipy.optimize import minimize_scalar

from flops_fit.scaling_law.flops_per_token import FlopsPerToken
from flops_fit.scaling_law.mixture import as_members, mixed_loss, mixed_optimum
from flops_fit.synthetic import CHINCHILLA

FIVE = np.array([CHINCHILLA.E, CHINCHILLA.A, CHINCHILLA.B, CHINCHILLA.alpha, CHINCHILLA.beta])
BOTH = np.stack([MEMBER, [*FIVE, 1.0]])


def test_one_member_is_its_own_law():
    assert mixed_loss(as_members(FIVE), 1e9, 2e10) == pytest.approx(CHINCHILLA.loss(1e9, 2e10))
    assert mixed_optimum(as_members(FIVE), 1e21, FlopsPerToken()) == pytest.approx(CHINCHILLA.N_opt(1e21))
    assert mixed_loss(MEMBER[None], 1e9, 2e10) == pytest.approx(bent_loss(1e9, 2e10))
    assert mixed_optimum(MEMBER[None], 1e21, FlopsPerToken()) == pytest.approx(bent_optimum(1e21))


def test_two_members_give_the_geometric_mean_of_their_losses():
    wanted = np.sqrt(bent_loss(1e9, 2e10) * CHINCHILLA.loss(1e9, 2e10))
    assert mixed_loss(BOTH, 1e9, 2e10) == pytest.approx(wanted)


@pytest.mark.parametrize("per_token", [FlopsPerToken(), FlopsPerToken(c=6.0, k=0.8, q=0.4, N_0=1e8)])
def test_the_optimum_is_the_lowest_loss_on_the_budget(per_token):
    computes = np.array([1e18, 1e21, 1e24])
    found = mixed_optimum(BOTH, computes, per_token)
    for compute, N in zip(computes, found, strict=True):
        lowest = minimize_scalar(
            lambda x, C=compute: float(np.log(mixed_loss(BOTH, np.exp(x), C / per_token(np.exp(x))))),
            bounds=(np.log(N) - 3, np.log(N) + 3),
            method="bounded",
            options={"xatol": 1e-9},
        )
        assert np.log(N) == pytest.approx(lowest.x, abs=1e-5)


def test_draws_of_members_are_answered_at_once():
    draws = np.stack([BOTH, BOTH * [1, 1.1, 1, 1, 1, 1]])
    wanted = [float(mixed_optimum(one, 1e21, FlopsPerToken())) for one in draws]
    np.testing.assert_allclose(mixed_optimum(draws, 1e21, FlopsPerToken()), wanted, rtol=1e-9)
