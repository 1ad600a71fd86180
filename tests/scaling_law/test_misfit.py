"""The misfit of a form: pooled from a study's own misses, growing with ln C."""

import numpy as np
import pytest
from scipy import stats

from flops_fit.basics.from_json import from_json
from flops_fit.scaling_law.misfit import (
    LOSS_RATE,
    MOST_OWN,
    PRIOR_FREEDOM,
    SIZE_RATE,
    UNSEEN_LOSS_RATE,
    UNSEEN_SIZE_RATE,
    Misfit,
    Miss,
    hidden,
    misfit_of,
)

WIDE = np.log(1e9)  # a span of compute over which a bend would show


def test_without_a_past_it_is_what_public_studies_showed():
    misfit = misfit_of([], WIDE)
    assert (misfit.loss_rate, misfit.size_rate) == pytest.approx((LOSS_RATE, SIZE_RATE), rel=1e-3)
    assert misfit.loss_freedom == PRIOR_FREEDOM


def test_what_a_narrow_study_cannot_show_is_added_in_full_and_less_the_wider_it_is():
    shares = [hidden(np.log(span)).loss_rate / UNSEEN_LOSS_RATE for span in (3, 10, 100, 1000)]
    assert shares == pytest.approx([1, 1, 1 / 64, 1 / 729])
    assert [hidden(np.log(span)).size_rate / UNSEEN_SIZE_RATE for span in (3, 100)] == pytest.approx([1, 1 / 64])
    assert misfit_of([], np.log(3)).loss_rate == pytest.approx(UNSEEN_LOSS_RATE)


def test_misses_are_pooled_as_rates_and_a_missing_minimum_counts_for_nothing():
    misses = [Miss(distance=2.0, log_loss=0.04, log_size=np.nan), Miss(distance=1.0, log_loss=-0.02, log_size=0.3)]
    misfit = misfit_of(misses, WIDE)
    pooled = (PRIOR_FREEDOM * LOSS_RATE**2 + 2 * 0.02**2) / (PRIOR_FREEDOM + 2)
    assert misfit.loss_rate**2 == pytest.approx(pooled, rel=1e-3)
    assert misfit.size_rate**2 == pytest.approx((PRIOR_FREEDOM * SIZE_RATE**2 + 0.3**2) / (PRIOR_FREEDOM + 1))
    many = misfit_of(misses * 10, WIDE)
    assert many.loss_freedom == PRIOR_FREEDOM + MOST_OWN


def test_draws_are_student_and_grow_with_the_distance():
    misfit = Misfit(loss_rate=0.01, loss_freedom=8.0)
    near, far = (misfit.draws("loss", distance, 0.0, 4000, 0) for distance in (1.0, 3.0))
    np.testing.assert_allclose(np.quantile(near, [0.05, 0.95]), 0.01 * stats.t.ppf([0.05, 0.95], 8), rtol=0.01)
    np.testing.assert_allclose(np.sort(far), 3 * np.sort(near))
    assert np.std(misfit.draws("loss", 1.0, 0.03, 4000, 0)) > 3 * np.std(near)
    assert not misfit.draws("N_opt", 1.0, 0.0, 10, 0).any()


def test_kept_and_read_again_it_is_the_same():
    for misfit in (Misfit(), misfit_of([Miss(distance=1.0, log_loss=0.01, log_size=np.nan)], WIDE)):
        assert from_json(Misfit, misfit.to_dict()) == misfit
