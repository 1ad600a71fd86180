"""How long trainings take, learnt from thousands of them: with work in proportion, and an error that is theirs."""

from statistics import median
from types import SimpleNamespace

import numpy as np
import pytest

from flops_fit.cost import calibration
from flops_fit.cost.calibration import MOST_LEFT_OUT, calibrate, left_out


def runs(count, noise):
    """Runs of 2 ms a step and 1 µs a token, each off by a factor of its own."""
    random = np.random.default_rng(0)
    tokens = np.geomspace(1e4, 1e7, count).round()
    seconds = (2e-3 * tokens**0.5 + 1e-6 * tokens) * np.exp(random.normal(0, noise, count))
    return [
        SimpleNamespace(num_tokens=int(D), own_share=1.0, steps=n, own_steps=n, own_flops=6e3 * D, own_seconds=float(s))
        for D, s, n in zip(tokens, seconds, (tokens**0.5).round().astype(int), strict=True)
    ]


@pytest.fixture
def fits(monkeypatch):
    """Runs of each fit that was made."""
    made, fit = [], calibration._costs

    def counted(work, *given):
        made.append(len(work))
        return fit(work, *given)

    monkeypatch.setattr(calibration, "_costs", counted)
    return made


@pytest.mark.parametrize(
    ("count", "expected"), [(20, 21), (MOST_LEFT_OUT, MOST_LEFT_OUT + 1), (3000, MOST_LEFT_OUT + 1)]
)
def test_as_many_fits_however_many_runs(fits, count, expected):
    calibrate(runs(count, 0.1), 1e12)
    assert len(fits) == expected


def test_the_runs_that_are_left_out_spread_from_first_to_last():
    assert left_out(7) == list(range(7))
    chosen = left_out(5000)
    assert (len(chosen), chosen[0], chosen[-1]) == (MOST_LEFT_OUT, 0, 4999)
    assert max(np.diff(chosen)) <= 51


def test_the_error_is_that_of_a_new_run():
    """Of x normal with standard deviation 0.1, the median of |exp(x) - 1| is 0.0674; of a hundred, within a third."""
    random = np.random.default_rng(1)
    expected = median(np.abs(np.expm1(random.normal(0, 0.1, 100_000))))
    assert calibrate(runs(2000, 0.1), 1e12).error == pytest.approx(expected, rel=0.35)
