"""Where the best rate lies given three losses: truth inside its interval, and as unsure as the noise makes it."""

import math

import numpy as np
import pytest

from flops_fit.rate_check.optimum import Optimum, carried, optimum_of

STEPS = (-math.log(2), 0.0, math.log(2))


def curve(u, h, skew=0.5, noise=0.0, random=None):
    """Log losses at the three rates: the curvature is exp(2 skew) times as high far above the optimum as far below."""
    away = [step - u for step in STEPS]
    exact = [1.0 + 0.5 * h * v**2 * math.exp(skew * v / math.sqrt(1 + v**2)) for v in away]
    return exact if random is None else [loss + noise * random.standard_normal() for loss in exact]


@pytest.mark.parametrize(("u", "h"), [(0.0, 0.05), (0.4, 0.1), (-0.6, 0.03)])
def test_without_noise_the_optimum_is_that_of_the_parabola(u, h):
    found = optimum_of(STEPS, curve(u, h), 0.0)
    assert np.median(found.u) == pytest.approx(u, abs=0.05)
    assert np.median(found.cost) == pytest.approx(math.expm1(curve(u, h)[1] - 1.0), abs=0.001)


@pytest.mark.parametrize("noise", [0.001, 0.005])
def test_nine_of_ten_intervals_hold_the_truth(noise):
    """Offset, curvature and skew as they are believed to be; 200 checks, so that 90 % has a standard error of 2 %."""
    random, held, costs = np.random.default_rng(5), 0, 0
    for _ in range(200):
        u = float(np.clip(math.log(4) * random.standard_normal(), -3, 3))
        h, skew = 0.02 * 4 ** random.standard_normal(), 0.5 + 0.5 * random.standard_normal()
        losses = curve(u, h, skew, noise, random)
        found = optimum_of(STEPS, losses, noise)
        low, high = np.quantile(found.u, (0.05, 0.95))
        held += low <= u <= high
        low, high = np.quantile(found.cost, (0.05, 0.95))
        costs += low <= math.expm1(curve(u, h, skew)[1] - 1.0) <= high
    assert 0.86 <= held / 200 <= 1.0
    assert 0.86 <= costs / 200 <= 1.0


def test_noise_as_large_as_the_differences_leaves_what_was_believed():
    found = optimum_of(STEPS, curve(0.3, 0.02), 0.1)
    assert np.std(found.u) == pytest.approx(math.log(4), rel=0.15)


def test_a_rate_that_diverged_lies_above_the_optimum():
    found = optimum_of(STEPS, [1.05, 1.0, None], 0.002, too_high=[STEPS[2]])
    assert found.u.max() < STEPS[2]
    assert np.median(found.u) > STEPS[0]


def test_what_is_off_is_carried_on_as_a_line_in_the_logarithm():
    random = np.random.default_rng(1)
    at, flat = [math.log(compute) for compute in (1e9, 1e10)], np.full(4000, 0.02)
    found = [Optimum(u=mean + 0.01 * random.standard_normal(4000), h=flat, skew=flat) for mean in (0.1, 0.4)]
    beyond = carried(at, found, math.log(1e11)).u
    assert 0.6 < beyond.mean() < 0.7, "a little towards no slope"
    assert beyond.std() > 0.1, "further away it is less sure"
    alone = carried(at[:1], found[:1], math.log(1e11)).u
    assert alone.mean() == pytest.approx(0.1, abs=0.05)
    assert alone.std() == pytest.approx(0.2 * math.log(100), rel=0.1), "of the slope only the belief is there"
