"""The record of all forecasts: counts, what the level promises, errors, and what cannot be used."""

import dataclasses
import math

import pandas as pd
import pytest
from made_forecasts import forecast, target, valley

from flops_fit.scaling_law.forecasts.calibration import HEADERS, Calibration, calibrate
from flops_fit.scaling_law.table.runs import read_runs


def three():
    """Two laws that forecast three budgets, of which two are trained: N off by 1.05, 1.2 and, of the same, 1.09."""
    first = forecast(target(1e21, N=1e9), target(1e22, N=3e9), target(1e23, N=1e10), law="one")
    second = forecast(target(1e22, N=3.3e9, level=0.1), law="two", made="2026-02-01T12:00:00+00:00")
    runs = pd.concat([valley(N=1.05e9, compute=1e21), valley(N=3.6e9, compute=1e22, loss=2.6)])
    return calibrate([second, first], read_runs(runs))


def test_the_record_counts_what_was_inside_against_what_the_level_promises():
    record = {item.quantity: item for item in three().coverage()}
    size, loss = record["N_opt"], record["L_opt"]
    assert (size.scored, size.inside) == (3, 2)
    assert size.median_error == pytest.approx(math.log(3.6 / 3.3))
    assert (loss.scored, loss.inside) == (3, 2)
    assert loss.median_error == pytest.approx(math.log(2.6 / 2.5))
    said = "\n".join(three().record())
    assert "4 targets forecast by 2 laws: 3 scored, 1 not yet" in said
    assert (
        "N_opt: 2 of 3 inside their 90 % intervals, 2 within both errors, where 2.7 are expected; median error x1.09"
        in said
    )
    assert "N_opt called trustworthy: 3 of 3 within a factor 1.5" in said
    assert "regret of training the forecast's N: median" in said
    assert "67" not in said
    assert "loss at N_opt called" not in said, "they were called provisional"


def test_the_table_has_every_target_oldest_first():
    rows = three().rows()
    assert all(len(row) == len(HEADERS) for row in rows)
    sizes = [row for row in rows if row[2] == "N_opt"]
    assert [row[:2] for row in sizes] == [
        ("2026-01-31", "1.00e+21"), ("2026-01-31", "1.00e+22"), ("2026-01-31", "1.00e+23"), ("2026-02-01", "1.00e+22")
    ]  # fmt: skip
    assert [row[9] for row in sizes] == ["yes", "no", "no runs yet", "yes"]
    assert sizes[0][3:9] == ("1.00B", "90 %", "909M to 1.10B", "trustworthy", "1.05B", "x1.05")
    text = three().summary()
    for row in rows:
        assert all(cell in text for cell in row)


def test_what_was_called_trustworthy_is_held_to_what_that_promises():
    far = forecast(target(1e21, N=1e9), law="one")
    twice = dataclasses.replace(far, level=0.5)
    runs = read_runs(valley(N=1.51e9))
    assert "N_opt called trustworthy: 0 of 1 within a factor 1.5" in calibrate([far, twice], runs).record()
    trusted = dataclasses.replace(target(loss=2.5), verdicts={"N_opt": "provisional", "loss": "trustworthy"})
    for loss, kept in ((2.549, 1), (2.551, 0)):
        record = calibrate([forecast(trusted)], read_runs(valley(loss=loss))).record()
        assert f"loss at N_opt called trustworthy: {kept} of 1 within 2 %" in record
        assert not any("N_opt called trustworthy: 0 of 1 within a factor" in line for line in record)


def test_levels_are_counted_apart():
    half = forecast(target(1e21, N=1e9), level=0.5)
    lines = calibrate([half, forecast()], read_runs(valley())).record()
    assert (
        "N_opt: 1 of 1 inside their 50 % intervals, 1 within both errors, where 0.5 are expected; median error x1"
        in lines
    )
    assert (
        "N_opt: 1 of 1 inside their 90 % intervals, 1 within both errors, where 0.9 are expected; median error x1"
        in lines
    )


def test_a_sealed_forecast_with_values_that_no_law_gives_is_named_and_the_others_count():
    steep = [dataclasses.replace(point, slope=1e300) for point in target().curve]
    odd = forecast(dataclasses.replace(target(), curve=tuple(steep)), law="odd")
    runs = valley(N=1e9).assign(flops=1.01e21, num_tokens=lambda table: 1.01e21 / (6 * table["num_params"]))
    found = calibrate([odd, forecast()], read_runs(runs))
    assert [score.law_version for score in found.scores] == ["a law"]
    assert odd.sha256[:12] in found.problems[0]


def test_no_forecasts_are_nothing_and_one_that_cannot_be_read_is_something():
    assert not Calibration()
    assert Calibration(problems=("f.json: torn",))
    assert calibrate([], read_runs(valley()), ["f.json: torn"]).summary() == "cannot be used: f.json: torn"
