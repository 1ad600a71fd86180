"""Curves are what the logs say; what is drawn of many is smoothed and thinned, the envelope the lowest of all."""

import json
import math
import re
import sys
import xml.etree.ElementTree as ElementTree
from dataclasses import replace

import numpy as np
import pytest

from flops_fit.loss_curves import LossCurve, curves_frame, load_curves
from flops_fit.loss_curves.curve_data import (
    MOST_CURVES,
    MOST_POINTS,
    NEAR,
    curves_caption,
    curves_data,
    curves_text,
    envelope,
    shown_curves,
    smoothed,
    thinned,
)
from flops_fit.loss_curves.curves import read_log, study_curves
from flops_fit.loss_curves.drawn_curves import drawn_curves
from flops_fit.loss_curves.one_curve import BLOCKS, LONG, curve_blocks, curve_svg, curve_text, round_values
from flops_fit.results.results import ExperimentResult
from flops_fit.scaling_law import envelope as fitted_envelope
from flops_fit.sweep.experiment import Experiment

RNG = np.random.default_rng(0)


def curve(budget=6e9, size=1_000, lines=101, noise=0.02, status="completed", held_out=2.0):
    """A training whose loss is 1 + (1e8/C)^0.3, with noise."""
    tokens = np.linspace(0.01, 1, lines) * budget / (6 * size)
    loss = 1 + (1e8 / (6 * size * tokens)) ** 0.3 + noise * RNG.normal(size=lines)
    return LossCurve(
        experiment_id=f"c{budget:g}-n{size}", compute_budget=budget, num_params=size, tokens=tokens, loss=loss,
        flops_per_token=6.0 * size, status=status, held_out=held_out,
    )  # fmt: skip


def lowest_of(curves):
    """The lowest mean of five or more neighbours, found one by one."""
    found = []
    for item in curves:
        for at in item.tokens:
            near = item.loss[(item.tokens >= at / NEAR) & (item.tokens <= at * NEAR)]
            found += [near.mean()] if len(near) >= 5 else []
    return pytest.approx(min(found), rel=1e-4)


def log_line(tokens, loss):
    return json.dumps({"step": 1, "tokens": tokens, "loss": loss, "learning_rate": 0.1, "seconds": 1.0}) + "\n"


def test_a_log_is_read_without_what_cannot_be_drawn(tmp_path):
    log = tmp_path / "log.jsonl"
    log.write_text(log_line(10, 3.0) + log_line(30, math.nan) + "epoch 1\n" + log_line(20, 2.5) + '{"step": 9, "tok')
    tokens, loss = read_log(log)
    assert tokens.tolist() == [10, 20]
    assert loss.tolist() == [3.0, 2.5]
    for other in (tmp_path / "none", tmp_path):
        assert len(read_log(other)[0]) == 0


def test_curves_of_a_study_are_those_that_have_a_log_finished_or_not(tmp_path):
    experiments = [Experiment(name, 6e9, 8, 1_000, 1_000_000) for name in ("ended", "running", "queued", "imported")]
    for item in experiments[:2] + experiments[3:]:
        (tmp_path / item.experiment_id).mkdir()
        (tmp_path / item.experiment_id / "log.jsonl").write_text(log_line(10, 3.0) + log_line(1_000, 2.0))
    ended = ExperimentResult.of(experiments[0], num_tokens=1_000, flops=6e6, status="completed", loss=2.1)
    imported = ExperimentResult.of(
        experiments[3], num_tokens=1_000, flops=6e6, status="completed", loss=2.1, source="imported"
    )
    found = study_curves(experiments, {"ended": ended, "imported": imported}, tmp_path)
    assert [(item.experiment_id, item.status, item.held_out) for item in found] == [
        ("ended", "completed", 2.1),
        ("running", "running", None),
    ]
    assert found[0].flops.tolist() == [6e4, 6e6]
    ended.save(tmp_path / "ended" / "result.json")
    assert [item.experiment_id for item in load_curves(tmp_path)] == ["ended"]


def test_smoothing_is_the_mean_within_a_factor_of_the_tokens():
    item = curve(noise=0.3)
    expected = [
        item.loss[(item.tokens >= at / NEAR) & (item.tokens <= at * NEAR)].mean() for at in item.tokens
    ]  # as it is defined, one by one
    np.testing.assert_allclose(smoothed(item.tokens, item.loss), expected, rtol=1e-12)


def test_the_envelope_is_the_lowest_loss_so_far():
    flops, loss = RNG.uniform(1, 100, 300), RNG.uniform(1, 3, 300)
    at, lowest = envelope(flops, loss)
    for compute in (2.0, 17.0, 60.0, 100.0):
        reached = loss[flops <= compute].min()
        assert lowest[at <= compute][-1] == reached
    assert (np.diff(lowest) < 0).all()
    assert (np.diff(at) > 0).all()


def test_the_envelope_drawn_is_that_of_all_points_and_not_of_those_that_are_left():
    curves = [curve(budget, size) for budget in (1e9, 1e10) for size in (300, 1_000)] * 200
    data = curves_data(curves)
    assert data.envelope_loss[-1] == lowest_of(curves)


def test_a_thousand_curves_stay_small_and_the_caption_says_what_is_left_out():
    curves = [curve(1e9 * 1.5**budget, 300 + 7 * size) for budget in range(20) for size in range(50)]
    data = curves_data(curves)
    assert sum(len(item.flops) for item in data.curves) <= MOST_POINTS
    assert all(item.flops[-1] == of.flops[-1] for item, of in zip(data.curves, curves, strict=True))
    assert f"{MOST_POINTS // 1000} of up to 101 logged points are drawn of each" in curves_caption(curves)
    (figure,) = drawn_curves(curves).values()
    assert len(figure.inline) < 700_000
    assert len(figure.points) == 1000, "one for each held-out loss"
    assert "all of up to 101 logged points" in curves_caption(curves[:3])


def test_of_thousands_a_thousand_are_drawn_with_what_did_not_complete_and_the_lowest_of_all():
    curves = [curve(1e9, 300)] * 3000
    curves[1500:1503] = [curve(1e9, 300, status="diverged", held_out=None)] * 3
    curves[7] = replace(curve(1e9, 300), loss=curve(1e9, 300).loss - 0.5)
    chosen = shown_curves(curves)
    assert len(chosen) == MOST_CURVES
    assert {0, 1500, 1501, 1502, 2999} <= set(chosen)
    assert 7 not in chosen
    data = curves_data(curves)
    assert len(data.curves) == MOST_CURVES
    assert data.envelope_loss[-1] == lowest_of([curves[0], curves[7], curves[1500]])
    assert curves_caption(curves).startswith("1,000 of 3,000 are drawn, those that did not complete first; ")
    assert shown_curves(curves[1500:1503] * 500) == [*shown_curves(curves[:1] * 1500)], "too many of them, evenly too"


@pytest.mark.parametrize("points", [8, 20, 101, 500])
def test_thinning_keeps_the_ends(points):
    flops = np.linspace(1, 100, 101)
    kept = thinned(flops, points)
    assert len(kept) <= points
    assert {0, 100} <= set(kept.tolist())


def test_words_say_how_many_and_how_low():
    curves = [curve(1e9, 300), curve(1e10, 300), curve(1e10, 900, status="running", held_out=None)]
    text = curves_text(curves)
    assert "3 trainings (2 completed, 1 running) at 2 compute budgets" in text
    assert float(re.search(r"([\d.]+) with 1.00e\+10 FLOPs", text)[1]) == lowest_of(curves)


@pytest.mark.parametrize(
    "curves",
    [
        [curve(lines=2)],
        [curve(noise=0.0)],
        [curve(status="diverged", held_out=None, noise=5.0)],
        [curve(status="running", held_out=None)],
        [curve(budget, size=2, lines=3) for budget in np.geomspace(1e3, 1e24, 14)],
        [LossCurve(experiment_id="<flat>", compute_budget=1e9, num_params=1, tokens=np.array([1.0, 2.0]),
                   loss=np.array([1e-9, 1e-9]), flops_per_token=6.0, held_out=1e-9)],
    ],
    ids=["two lines", "smooth", "diverged", "running", "far apart", "flat"],
)  # fmt: skip
def test_any_curves_can_be_drawn(curves):
    (figure,) = drawn_curves(curves, "nats").values()
    assert "<svg" in figure.inline
    for item in curves:
        tree = ElementTree.fromstring(curve_svg(item))
        assert item.experiment_id in "".join(tree.itertext())
        first, blocks, last = curve_blocks(item).split(" ")
        assert len(blocks) == LONG
        assert set(blocks) <= set(BLOCKS)
        loss = smoothed(item.tokens, item.loss)
        assert (float(first), float(last)) == pytest.approx((loss[0], loss[-1]), rel=1e-3, abs=1e-4)
        assert curve_text(item).count(" ") > 5


def test_no_curves_are_no_figure():
    assert drawn_curves([]) == {}


def test_ticks_are_round():
    assert round_values(1.916, 4.944) == [2, 3, 4]
    assert round_values(0.0301, 0.0378) == [0.032, 0.034, 0.036]


def test_the_envelope_of_hoffmann_takes_the_curves():
    found = fitted_envelope(curves_frame([curve(1e10, size, noise=0) for size in (300, 1_000, 3_000)]))
    assert found.loss[-1] == pytest.approx(1 + (1e8 / found.compute[-1]) ** 0.3, rel=1e-3)


def test_one_curve_needs_no_matplotlib(tmp_path):
    import subprocess

    code = (
        "import sys, flops_fit.loss_curves.one_curve, flops_fit_assets.metadata.training_run\n"
        "assert not {'matplotlib', 'pandas', 'scipy'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
