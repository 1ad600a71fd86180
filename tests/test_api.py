"""The whole study in one call."""

import math
import threading

import pandas as pd
import pytest
import torch
from tiny_study import OPTIONS, TinyMLP, held_out, train

from flops_fit import ScalingLaw, SweepPlan, find_optimal, load_runs
from flops_fit.errors import FlopsFitWarning, LossError, PlanError, StudyError

BUDGETS = [4e6, 8e6, 1.6e7]


def whole(tmp_path, budgets=BUDGETS, model=TinyMLP, **changes):
    return find_optimal(
        model, "width", None, train(), torch.nn.functional.cross_entropy, budgets,
        eval_dataset=held_out(), output_dir=tmp_path, **OPTIONS | changes,
    )  # fmt: skip


def modification_times(tmp_path):
    return {path.parent.name: path.stat().st_mtime_ns for path in tmp_path.glob("runs/*/result.json")}


def test_without_data_or_training_it_is_a_plan(tmp_path):
    plan = find_optimal(TinyMLP, "width", compute_budgets=BUDGETS, max_size=64)
    assert isinstance(plan, SweepPlan)
    assert list(plan.compute_budgets) == BUDGETS
    assert isinstance(whole(tmp_path, train=False), SweepPlan)
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_it_trains_fits_and_resumes_by_id(tmp_path):
    law = whole(tmp_path)
    assert isinstance(law, ScalingLaw)
    prediction = law.predict(1e8)
    assert prediction["target_compute"] == 1e8
    assert 0 < prediction["expected_loss"] < math.log(4)
    first = modification_times(tmp_path)
    assert len(first) == 12
    again = whole(tmp_path)
    assert modification_times(tmp_path) == first, "nothing is trained twice"
    assert again.to_dict() == law.to_dict()
    whole(tmp_path, [*BUDGETS, 2.8e7])
    more = modification_times(tmp_path)
    assert len(more) == 16
    assert first.items() <= more.items(), "other budgets' experiments are untouched"
    runs = load_runs(tmp_path)
    assert (abs(runs["flops"] / runs["compute_budget"] - 1) < 0.02).all()
    assert runs["reason"].isna().all()
    pd.testing.assert_frame_equal(
        runs.drop(columns="reason").sort_values("experiment_id", ignore_index=True),
        load_runs(tmp_path / "runs.csv").drop(columns="reason").sort_values("experiment_id", ignore_index=True),
        check_dtype=False,
    )


@pytest.mark.slow
def test_wherever_a_model_is_defined_and_trained_the_losses_are_the_same(tmp_path):
    class Local(TinyMLP):
        """No worker process could import this, so it travels by value; were it trained here, a warning would say so."""

    class Unsendable(TinyMLP):
        lock = threading.Lock()

    whole(tmp_path / "module", BUDGETS[:2], workers=2)
    whole(tmp_path / "function", BUDGETS[:2], model=Local)
    with pytest.warns(FlopsFitWarning, match=r"cannot pickle '_thread\.lock' object.*in this process instead") as said:
        whole(tmp_path / "here", BUDGETS[:2], model=Unsendable)
    assert sum("in this process" in str(warning.message) for warning in said) == 1
    runs = {
        name: load_runs(tmp_path / name).sort_values(["compute_budget", "num_params"])
        for name in ("module", "function", "here")
    }
    for one in runs.values():
        assert one["loss"].tolist() == runs["module"]["loss"].tolist()
        assert one["weights_sha256"].tolist() == runs["module"]["weights_sha256"].tolist()
    assert len({name for one in runs.values() for name in one["experiment_id"]}) == 24, "another model has other ids"


def test_bad_input_is_refused_before_anything_is_trained(tmp_path):
    with pytest.raises(LossError, match=r"give CrossEntropyLoss\(\)"):
        find_optimal(TinyMLP, "width", None, train(), torch.nn.CrossEntropyLoss, BUDGETS, output_dir=tmp_path)
    with pytest.raises(TypeError, match="is a int"):
        find_optimal(TinyMLP, "width", None, 3, torch.nn.CrossEntropyLoss(), BUDGETS, output_dir=tmp_path)
    with pytest.raises(PlanError, match="compute_budgets = None must be a list of at least one"):
        find_optimal(TinyMLP, "width")
    with pytest.raises(TypeError, match="unknown option 'learnin_rate'; did you mean 'learning_rate'"):
        find_optimal(TinyMLP, "width", compute_budgets=BUDGETS, learnin_rate=1.0)
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_a_diverged_experiment_is_kept_as_data_and_left_out_of_the_fit(tmp_path):
    def rate(experiment):
        smallest = experiment.compute_budget == BUDGETS[0] and experiment.tokens_per_param > 60
        return 1e38 if smallest else 0.02

    whole(tmp_path, learning_rate=rate, gradient_clip=None)
    runs = load_runs(tmp_path)
    diverged = runs[runs["status"] == "diverged"]
    assert len(diverged) >= 1
    assert diverged["loss"].isna().all()
    assert diverged["reason"].str.contains("last finite one was").all()


def test_options_of_data_alone_are_not_dropped_silently():
    with pytest.raises(StudyError, match="eval_dataset and eval_fraction given without dataset"):
        find_optimal(TinyMLP, "width", compute_budgets=BUDGETS, eval_dataset=held_out(), eval_fraction=0.1)
