"""A multiple of compute in time: from the seconds that runs took, on one device."""

import dataclasses

import numpy as np
import pandas as pd
import pytest

from flops_fit import compare_laws, fit_scaling_law, rank_laws
from flops_fit.errors import FitError
from flops_fit.scaling_law.comparison.multiplier import Multiplier
from flops_fit.scaling_law.comparison.speed import speed_of
from flops_fit.synthetic import REPLICATION, synthetic_runs
from flops_fit.tables.timings import with_timings


def cheaper(times):
    return dataclasses.replace(REPLICATION, flops_per_param_per_token=6 / times)


def timed(law, rate=1e12, power=0.0, device="H100", noise=0.0, seed=0):
    """Its runs, of which a FLOP takes `(N / 1e8)^power / rate` seconds."""
    runs = synthetic_runs(law)
    seconds = runs["flops"] * (runs["num_params"] / 1e8) ** power / rate
    off = np.exp(noise * np.random.default_rng(seed).standard_normal(len(runs)))
    return runs.assign(seconds=seconds * off, device=device)


@pytest.fixture(scope="module")
def laws():
    recipes = {"now": REPLICATION, "new": cheaper(1.25)}
    return {
        name: fit_scaling_law(synthetic_runs(law), form="chinchilla", delta=1e-3, bootstraps=50)
        for name, law in recipes.items()
    }


def test_seconds_of_a_flop_follow_the_size_and_end_with_what_was_timed():
    speed = speed_of(timed(REPLICATION, rate=1e12, power=-0.2))
    smallest, largest = speed.sizes
    middle = float(np.sqrt(smallest * largest))
    assert speed.seconds_per_flop(middle) == pytest.approx((middle / 1e8) ** -0.2 / 1e12, rel=1e-6)
    assert speed.seconds_per_flop(100 * largest) == pytest.approx(speed.seconds_per_flop(largest))
    assert speed.error(middle) == pytest.approx(0, abs=1e-6)
    assert speed.covers(middle)
    assert not speed.covers(2 * largest)


def test_the_error_of_a_timing_is_that_of_repeated_ones():
    size = 1e8
    found = [speed_of(timed(REPLICATION, noise=0.2, seed=seed)) for seed in range(200)]
    spread = np.std([np.log(speed.seconds_per_flop(size)) for speed in found])
    assert np.mean([speed.error(size) for speed in found]) == pytest.approx(spread, rel=0.15)


def test_twice_as_fast_takes_half_the_time(laws):
    runs = {"now": timed(REPLICATION, rate=1e12), "new": timed(cheaper(1.25), rate=0.4e12)}
    found = compare_laws(laws, at=1e21, timed=runs)
    (at,) = found.targets
    assert at.multipliers[1].value == pytest.approx(1.25, rel=1e-4)
    assert [one.value for one in at.time_multipliers] == pytest.approx([2.0, 0.5], rel=1e-3)
    assert "by the clock now needs 0.50 times as long (0.50 to 0.50), as measured on H100" in found.summary()
    assert "In time" in found.table()
    assert found.to_dict()["timed_on"] == "H100"


def test_each_side_is_timed_at_its_own_optimal_size(laws):
    """Of a FLOP's seconds that go as N^-0.2, at the sizes that the closed form gives, within those that were timed."""
    target = 3e18
    runs = {"now": timed(REPLICATION), "new": timed(cheaper(1.25), power=-0.2)}
    (at,) = compare_laws(laws, at=target, timed=runs).targets
    size = cheaper(1.25).N_opt(at.multipliers[0].value * target)
    assert at.time_multipliers[0].value == pytest.approx((size / 1e8) ** -0.2 / 1.25, rel=1e-2)


def test_errors_of_timings_widen_the_interval(laws):
    runs = {name: timed(REPLICATION, noise=0.3, seed=seed) for seed, name in enumerate(laws)}
    (at,) = compare_laws(laws, at=3e18, timed=runs).targets
    for one in at.time_multipliers:
        assert one.low < 0.97 * one.value < 1.03 * one.value < one.high


def test_sizes_that_were_not_timed_are_named(laws):
    runs = {"now": timed(REPLICATION), "new": timed(cheaper(1.25))}
    said = compare_laws(laws, at=1e24, timed=runs).summary()
    assert "N_opt of now and new there is no size that was timed: taken as fast as the nearest" in said
    assert "no size that was timed" not in compare_laws(laws, at=3e18, timed=runs).summary()


@pytest.mark.parametrize(
    ("new", "why"),
    [
        (timed(REPLICATION, device="A100"), "now was trained on H100; new was trained on A100"),
        (synthetic_runs(REPLICATION), "of the runs of new there is no column seconds, device"),
        (timed(REPLICATION).assign(seconds=0.0), "of the runs of new no run was timed"),
        (pd.concat([timed(REPLICATION), timed(REPLICATION, device="A100")]), "its runs were trained on A100 and H100"),
    ],
)
def test_where_it_is_not_known_that_is_said(laws, new, why):
    runs = {"now": timed(REPLICATION), "new": new}
    for found in (compare_laws(laws, at=1e21, timed=runs), rank_laws(laws, at=1e21, timed=runs)):
        assert "note: what the compute is in time is not known: " in found.summary()
        assert why in found.summary()
        assert "In time" not in found.table()
    assert compare_laws(laws, at=1e21, timed=runs).targets[0].time_multipliers is None


def test_laws_alone_hold_no_seconds(laws):
    assert "not known: laws alone hold no seconds; give study files" in compare_laws(laws, at=1e21).summary()
    with pytest.raises(FitError, match="there is no column num_params, flops, seconds, device"):
        speed_of(None)


def test_three_laws_in_time(laws):
    runs = {"now": timed(REPLICATION), "new": timed(cheaper(1.25), rate=0.4e12)}
    found = rank_laws(laws, at=1e21, timed=runs)
    assert "by the clock, for the loss of new: now needs 0.50 times as long" in found.summary()


@pytest.mark.parametrize(
    ("heading", "seconds_in_it"),
    [("_runtime", 1), ("Runtime", 1), ("summary.train_hours", None), ("wall time (min)", 60), ("train_hours", 3600)],
)
def test_a_trackers_columns_say_how_long_and_on_what(heading, seconds_in_it):
    runs = timed(REPLICATION)
    theirs = runs.drop(columns=["seconds", "device"]).assign(**{"GPU Type": "H100"})
    found = with_timings(theirs.assign(**{heading: runs["seconds"] / (seconds_in_it or 1)}))

    assert set(found["device"]) == {"H100"}
    if seconds_in_it is None:  # whose it is, is not plain
        assert "seconds" not in found
    else:
        assert found["seconds"].to_numpy() == pytest.approx(runs["seconds"].to_numpy())


def test_our_own_columns_are_taken_before_a_trackers():
    runs = timed(REPLICATION).assign(_runtime=7.0, gpu="A100")
    found = with_timings(runs)
    assert found["seconds"].equals(runs["seconds"])
    assert set(found["device"]) == {"H100"}


@pytest.mark.parametrize(
    ("value", "low", "high", "said"),
    [
        (np.inf, 2000.0, np.inf, "no amount of compute (more than 1,000 times, perhaps never)"),
        (np.inf, 3.0, np.inf, "no amount of compute (at least 3.00 times, perhaps never)"),
        (5000.0, 2000.0, 9000.0, "more than 1,000 times the compute (more than 1,000)"),
        (1.34, 1.08, 1.71, "1.34 times the compute (1.08 to 1.71)"),
    ],
)
def test_multiples_beyond_a_thousand_are_said_once(value, low, high, said):
    assert Multiplier(value=value, low=low, high=high).words() == said
