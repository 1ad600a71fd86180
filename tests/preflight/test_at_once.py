"""What `flops-fit check` says about trainings at once."""

import pytest
from tiny_study import TinyMLP, tiny_size_map, tiny_study

from flops_fit import Hardware, ModelSpec, SweepOptions
from flops_fit.preflight.at_once import tried_at_once
from flops_fit.stages import study_plan

pytestmark = pytest.mark.filterwarnings("ignore:6 FLOPs per parameter")


def said(at_once, seeds=(0, 1, 2), **kwargs):
    study = tiny_study(
        model=ModelSpec(factory=TinyMLP, size_param="width", max_size=64, kwargs=kwargs),
        sweep=SweepOptions(compute_budgets=(2e5,), num_sizes_per_budget=3, seeds=seeds),
        hardware=Hardware(device="cpu", workers=1, trainings_per_device=at_once),
    )
    return [*tried_at_once(study, study_plan(study, tiny_size_map()))]


def test_the_smallest_and_the_largest_model_are_tried_at_once():
    first, smallest, largest = said(3)
    assert first == "tried at once: 9 of 9 experiments, in 3 groups of up to 3"
    for line in (smallest, largest):
        assert ", 3 at once: a step is " in line
        assert line.endswith(" times as fast, and the same to rounding")
    assert smallest.split(",")[0] != largest.split(",")[0]


def test_what_is_not_the_same_at_once_is_told_with_its_reason():
    _, *tried = said(3, dropout=0.5)
    assert len(tried) == 2
    assert all("each is trained alone, since model, data or loss draw at random" in line for line in tried)


def test_where_nobody_asked_nothing_is_tried():
    assert said(1) == []
    assert said("auto", seeds=(0,)) == [
        "each is trained alone: no two have the same size, tokens and batch, as several seeds would"
    ]
