"""`find_optimal` with a total to spend instead of budgets."""

import json

import pytest
import torch
from tiny_study import OPTIONS, TinyMLP, held_out, train

from flops_fit import ScalingLaw, SweepPlan, find_optimal
from flops_fit.errors import StudyError

ASKED = {"target_budget": 1e8, "total_compute": 3e7, "N_opt_within": 1.01, "round_size": 4, "flops": "measured"}


def whole(tmp_path, **changes):
    return find_optimal(
        TinyMLP, "width", None, train(), torch.nn.functional.cross_entropy, [6e5, 2e6, 6e6],
        eval_dataset=held_out(), output_dir=tmp_path, **OPTIONS | ASKED | changes,
    )  # fmt: skip


def trained(tmp_path):
    return {path.parent.name: path.stat().st_mtime_ns for path in tmp_path.glob("runs/*/result.json")}


def rounds(tmp_path):
    return {path.name: path.read_text() for path in tmp_path.glob("rounds/*/round_*.json")}


@pytest.mark.slow
def test_it_trains_rounds_within_the_total_and_goes_on_where_it_stopped(tmp_path):
    plan = whole(tmp_path, train=False)
    assert isinstance(plan, SweepPlan)
    assert (plan.num_experiments, list(tmp_path.iterdir())) == (9, [])
    law = whole(tmp_path)
    assert isinstance(law, ScalingLaw)
    first, planned = trained(tmp_path), rounds(tmp_path)
    assert {item.experiment_id for item in plan.experiments} < set(first)
    assert len(planned) >= 2
    assert sum(json.loads(path.read_text())["flops"] for path in tmp_path.glob("runs/*/result.json")) <= 3e7
    assert whole(tmp_path).to_dict() == law.to_dict()
    assert (trained(tmp_path), rounds(tmp_path)) == (first, planned), "nothing is trained or planned twice"


def test_a_target_alone_is_refused():
    with pytest.raises(StudyError, match="target_budget given without total_compute; give the FLOPs of all"):
        find_optimal(TinyMLP, "width", compute_budgets=[1e6], target_budget=1e9)


def test_a_total_alone_is_refused():
    with pytest.raises(StudyError, match="total_compute given without target_budget"):
        find_optimal(TinyMLP, "width", total_compute=1e9)
