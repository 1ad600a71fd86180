"""A forecast says what its law says, and a forecast that was changed is none."""

import dataclasses
import json
from datetime import UTC, datetime, timedelta

import pytest
from damage import places
from made_forecasts import forecast, target

from flops_fit import Forecast, fit_scaling_law
from flops_fit.basics.files import write_value
from flops_fit.errors import FileError, FitError
from flops_fit.identity.fingerprints import content_hash
from flops_fit.synthetic import REPLICATION, synthetic_runs


@pytest.fixture(scope="module")
def law():
    return fit_scaling_law(synthetic_runs(noise=0.002, span=6, seed=3), bootstraps=100)


def test_a_forecast_of_an_exact_law_is_that_law():
    exact = fit_scaling_law(synthetic_runs(compute_budgets=(1e18, 1e19, 1e20)), bootstraps=20)
    (at,) = exact.forecast("1e21").targets
    N, D = REPLICATION.N_opt(1e21), REPLICATION.D_opt(1e21)
    assert at.N_opt.value == pytest.approx(N, rel=1e-4)
    assert at.D_opt.value == pytest.approx(D, rel=1e-4)
    assert at.L_opt.value == pytest.approx(REPLICATION.loss(N, D), rel=1e-6)
    assert at.exponent == pytest.approx(REPLICATION.a, rel=1e-4)
    assert [point.N / N for point in at.curve] == pytest.approx([8 ** (step / 4) for step in range(-4, 5)], rel=1e-4)
    assert [6 * point.N * point.D for point in at.curve] == pytest.approx([1e21] * 9)
    for point in at.curve:
        loss = REPLICATION.loss(point.N, point.D)
        assert point.new_run.value == pytest.approx(loss, rel=1e-6)
        assert point.slope == pytest.approx(
            -REPLICATION.beta * REPLICATION.B * point.D**-REPLICATION.beta / loss, rel=2e-3
        )


def test_it_holds_every_answer_of_the_law_and_what_it_was_made_from(law):
    made = law.forecast([3e21, 1e21], level=0.8)
    assert [at.compute for at in made.targets] == [1e21, 3e21]
    at = made.targets[0]
    for name in ("N_opt", "D_opt", "L_opt"):
        answer = getattr(at, name)
        assert (answer.low, answer.high) == law.interval(name, 1e21, level=0.8)
        assert answer.value == getattr(law, name)(1e21)
    run = at.at_optimum
    optimum = [law.N_opt(1e21), law.D_opt(1e21)]
    assert optimum == pytest.approx([run.N, run.D])
    assert (run.new_run.low, run.new_run.high) == law.interval("new_run", num_params=run.N, num_tokens=run.D, level=0.8)
    assert at.verdicts == {name: law.verdict_at(1e21, name) for name in ("N_opt", "D_opt", "loss")}
    assert (made.runs, made.largest_compute) == (35, 1e20)
    assert made.law_version == content_hash(law.to_dict())
    assert made.data_version == content_hash(law.runs.to_dict())
    assert datetime.now(UTC) - datetime.fromisoformat(made.made) < timedelta(hours=1)
    for said in ("1.00e+21", "3.00e+21", "80 %", made.sha256, "35 runs"):
        assert said in made.summary()


@pytest.mark.parametrize("compute", [1e18, 5e19, 1e20, 1.09e20])
def test_what_has_been_seen_is_no_forecast(law, compute):
    with pytest.raises(FitError, match=r"not beyond the runs, which reach 1\.00e\+20.*at least 1\.11e\+20 FLOPs"):
        law.forecast([compute, 1e21])
    assert law.forecast([1.11e20]).targets


def test_a_budget_that_has_been_named_counts_as_seen(law):
    """Its runs may have spent less than its name says."""
    runs = synthetic_runs(noise=0.002, span=6, seed=3)
    spent_less = runs.assign(flops=0.7 * runs["flops"], num_tokens=0.7 * runs["num_tokens"])
    with pytest.raises(FitError, match=r"reach 1\.00e\+20"):
        fit_scaling_law(spent_less, bootstraps=20).forecast([1e20])


@pytest.mark.parametrize(
    ("targets", "level", "said"),
    [
        ([], 0.9, "give one or more"),
        ([-1e21], 0.9, "positive, finite"),
        (["much"], 0.9, "positive, finite"),
        ([1e21], 1.0, "between 0 and 1"),
    ],
)
def test_targets_and_levels_that_cannot_be_forecast(law, targets, level, said):
    with pytest.raises(FitError, match=said):
        law.forecast(targets, level=level)


def test_a_law_that_the_runs_do_not_determine_forecasts_nothing():
    lost = fit_scaling_law(synthetic_runs(compute_budgets=(1e18,)), bootstraps=20)
    assert not lost.determined
    with pytest.raises(FitError, match="do not determine the law"):
        lost.forecast([1e21])


def test_it_is_read_as_it_was_written_and_never_overwritten(tmp_path, law):
    made = law.forecast([1e21, 3e21])
    path = made.save(tmp_path / "f.json")
    assert Forecast.load(path) == made
    assert json.loads(path.read_text())["sha256"] == made.sha256
    before = path.stat().st_mtime_ns
    assert made.save(path) == path
    assert path.stat().st_mtime_ns == before
    with pytest.raises(FileError, match="never overwritten; give another name"):
        law.forecast([1e22]).save(path)
    path.write_text("mine")
    with pytest.raises(FileError, match="never overwritten"):
        made.save(path)


def test_a_forecast_with_any_value_changed_is_refused(tmp_path):
    path = forecast(witnesses=("ab12",)).save(tmp_path / "f.json")
    text = path.read_text()
    leaves = [place for place in places(json.loads(text)) if not isinstance(_at(json.loads(text), place), dict | list)]
    assert len(leaves) > 60
    for place in leaves:
        content = json.loads(text)
        value = _at(content, place)
        _at(content, place[:-1])[place[-1]] = value + "0" if isinstance(value, str) else value * (1 + 1e-12) + 1e-300
        path.write_text(json.dumps(content))
        with pytest.raises(FileError, match=r"f\.json.*restore it from a copy, or move it away"):
            Forecast.load(path)


def _at(content, place):
    for step in place:
        content = content[step]
    return content


def test_a_forecast_that_was_dated_back_has_another_hash(tmp_path):
    made = forecast()
    earlier = dataclasses.replace(made, made="2025-01-31T12:00:00+00:00")
    assert earlier.sha256 != made.sha256
    assert Forecast.load(earlier.save(tmp_path / "f.json")).sha256 == earlier.sha256


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("made", "yesterday"),
        ("made", "2026-01-31T12:00:00+02:00"),
        ("made", "2026-01-31T12:00:00"),
        ("level", 90),
        ("targets", []),
        ("runs", 0),
        ("largest_compute", 1e21),
        ("law_version", ""),
    ],
)
def test_a_sealed_file_with_a_value_that_no_forecast_has_is_refused(tmp_path, field, value):
    content = {"schema": "flops_fit.forecast/1"} | forecast().to_dict() | {field: value}
    path = write_value(tmp_path / "f.json", content)
    with pytest.raises(FileError, match=r"f\.json"):
        Forecast.load(path)


def test_targets_come_in_order_and_curves_can_be_interpolated():
    with pytest.raises(FitError, match="ascending"):
        forecast(target(3e21), target(1e21))
    with pytest.raises(FitError, match="at least 4, ascending"):
        dataclasses.replace(target(), curve=target().curve[:3])
    with pytest.raises(FitError, match="at most high"):
        dataclasses.replace(target().N_opt, low=2e9)
