"""One planned training as data: made by hand in the order people write it, and refused where it contradicts itself."""

import dataclasses
import json

import numpy as np
import pytest

from flops_fit import Experiment
from flops_fit.errors import PlanError

BY_HAND = ("exp_000", 1.2e14, 64, 1_000_000, 20_000_000, 20.0)


def test_six_values_in_order_make_one():
    experiment = Experiment(*BY_HAND)
    assert (experiment.experiment_id, experiment.size_param_value, experiment.num_tokens) == ("exp_000", 64, 20_000_000)
    assert experiment.to_dict() | {
        "tuned": (),
        "arguments": {},
        "label": "",
        "active_params": None,
        "recipe_tokens": None,
    } == dataclasses.asdict(experiment)
    assert "tuned" not in experiment.to_dict(), "as ids and hashes were made before anything could be tuned"
    assert list(experiment.to_dict())[:6] == [
        "experiment_id", "compute_budget", "size_param_value", "num_params", "num_tokens", "tokens_per_param",
    ]  # fmt: skip
    assert "tokens_per_param=20.0" in repr(experiment)
    assert Experiment.from_dict(experiment.to_dict()) == experiment


def test_one_with_values_of_its_own_is_kept_with_them():
    tuned = Experiment(*BY_HAND, tuned=(("batch_tokens", 512.0), ("learning_rate", 0.01)))
    assert Experiment.from_dict(json.loads(json.dumps(tuned.to_dict()))) == tuned
    with pytest.raises(PlanError, match=r"tuned = .* must be pairs of a name and a number"):
        Experiment(*BY_HAND, tuned=(("learning_rate", "high"),))


def test_what_is_left_out_follows_from_the_rest():
    experiment = Experiment("a", "1.2e14", np.int64(64), 1e6, 2e7)
    assert experiment.tokens_per_param == 20
    assert experiment.flops_per_token == 6_000_000, "1.2e14 FLOPs over 2e7 tokens"
    assert experiment.planned_flops == experiment.compute_budget == 1.2e14
    assert [type(value) for value in (experiment.num_params, experiment.size_param_value)] == [int, int]


@pytest.mark.parametrize("given", [20.3, 19.7])
def test_tokens_per_parameter_may_be_rounded(given):
    assert Experiment(*BY_HAND[:-1], given).tokens_per_param == given


@pytest.mark.parametrize("given", [20.5, 19.5, 2.0])
def test_tokens_per_parameter_that_contradict_the_counts_are_refused(given):
    with pytest.raises(PlanError, match=rf"tokens_per_param = {given:g} must be .* 20,000,000 / 1,000,000 = 20 "):
        Experiment(*BY_HAND[:-1], given)


def test_a_changed_copy_gets_its_own_ratio():
    with pytest.raises(PlanError, match="leave tokens_per_param out"):
        dataclasses.replace(Experiment(*BY_HAND), num_tokens=40_000_000)
    changed = dataclasses.replace(Experiment(*BY_HAND), num_tokens=40_000_000, tokens_per_param=None)
    assert changed.tokens_per_param == 40
