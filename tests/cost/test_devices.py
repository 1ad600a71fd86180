"""How many devices each training takes: by its time against that of all, and by its memory."""

import math

import pytest
from test_estimate import experiment, plan, result

from flops_fit import Hardware, Recipe
from flops_fit.cost.devices import devices_refusal, devices_text, refuse_devices
from flops_fit.cost.estimate import BYTES_PER_PARAM, estimate
from flops_fit.cost.spending import spending
from flops_fit.errors import StudyError
from flops_fit.sweep.experiment import Experiment

RECIPE = Recipe(learning_rate=0.01, batch_tokens=1000)


def cost_of(*experiments, recipe=RECIPE, results=(), **hardware):
    given = Hardware(**{"peak_flops": 1e12, "utilisation": 0.25, "device": "cpu"} | hardware)
    return estimate(plan(*experiments), given, results, recipe=recipe), given


def counts(cost):
    return {name: devices.count for name, devices in cost.devices.items()}


def test_one_is_what_each_takes_where_nobody_asks_for_more():
    cost, hardware = cost_of(experiment("a"), experiment("b"), workers=4)
    assert counts(cost) == {"a": 1, "b": 1}
    assert devices_text(cost.devices) == ""
    assert devices_refusal(hardware, cost.too_large) is None


def test_a_number_is_what_all_take_and_their_time_is_shared():
    cost, _ = cost_of(experiment("a"), experiment("b"), workers=4, devices_per_training=2)
    assert counts(cost) == {"a": 2, "b": 2}
    assert cost.wall_seconds_of("a") == cost.seconds["a"] / 2
    assert cost.wall_seconds == pytest.approx(cost.seconds["a"] / 2), "both at the same time, on two each"
    assert devices_text(cost.devices) == "every training takes 2 devices (devices_per_training = 2)"


def test_auto_gives_more_to_those_that_would_outlast_an_even_share():
    """Ten of 600 s and one of 4,800 s on 4 workers: an even share is 2,700 s, of which the longest is 1.8."""
    small = [experiment(f"small{number}", num_tokens=25_000_000) for number in range(10)]
    cost, hardware = cost_of(*small, experiment("long", num_tokens=200_000_000), workers=4, devices_per_training="auto")
    shares = {name: seconds / (sum(cost.seconds.values()) / 4) for name, seconds in cost.seconds.items()}
    assert counts(cost) == {name: max(1, round(share)) for name, share in shares.items()}
    assert counts(cost)["long"] == 2
    spent = spending(plan(*small, experiment("long", num_tokens=200_000_000)), cost, {}, hardware)
    assert spent.left_wall_hours * 3600 == pytest.approx(sum(cost.seconds.values()) / 4), "nobody waits for the longest"
    text = devices_text(cost.devices)
    assert text.startswith("1 trains on 2 devices (long: ")
    assert "on one, longer than an even share of all trainings" in text
    assert text.endswith(", 10 train on one")


def test_auto_starts_no_processes_for_what_takes_less_than_a_minute():
    cost, _ = cost_of(experiment("a", num_tokens=2_000_000), workers=8, devices_per_training="auto")
    assert 40 < cost.seconds["a"] < 60
    assert counts(cost) == {"a": 1}


def test_auto_takes_no_more_devices_than_workers_or_examples_in_a_step():
    alone = experiment("a", num_tokens=200_000_000)
    assert counts(cost_of(alone, workers=4, devices_per_training="auto")[0]) == {"a": 4}
    few = Recipe(learning_rate=0.01, batch_tokens=3)
    assert counts(cost_of(alone, recipe=few, workers=4, devices_per_training="auto")[0]) == {"a": 3}


def large(total_params=1_000_000, activations=1e6):
    options = {"total_params": total_params, "activation_bytes_per_token": activations}
    return Experiment(**vars(experiment("large", num_tokens=2_000_000)) | options)


def test_auto_takes_as_many_as_hold_a_batch():
    """1,000 tokens of 1 MB each beside 16 MB that every device holds: 1.016 GB, of which 0.27 GB hold a quarter."""
    cost, _ = cost_of(large(), memory_bytes=0.27e9, workers=8, devices_per_training="auto")
    least = BYTES_PER_PARAM * 1e6 + 1e6
    assert counts(cost) == {"large": math.ceil((1000 * 1e6 - 1e6) / (0.27e9 - least))} == {"large": 4}
    assert "with a whole batch, one has" in devices_text(cost.devices)


def test_what_one_device_cannot_hold_is_refused_with_a_remedy_since_none_is_sharded():
    cost, hardware = cost_of(large(total_params=10**9), memory_bytes=8e9, workers=8, devices_per_training=4)
    with pytest.raises(StudyError, match=r"nothing was trained: 1 experiments such as large do not fit one device of"):
        refuse_devices(hardware, cost.too_large)
    assert "lower max_size or max_params, take a larger accelerator" in devices_refusal(hardware, cost.too_large)
    alone, one = cost_of(large(total_params=10**9), memory_bytes=8e9, workers=8)
    assert devices_refusal(one, alone.too_large) is None, "who asks for nothing is told as ever, by the plan"


def test_more_devices_than_there_are_are_refused():
    cost, hardware = cost_of(experiment("a"), workers=2, devices_per_training=4)
    said = r"devices_per_training = 4 in \[hardware\] is more than the 2 devices .* set workers = 4 if there"
    with pytest.raises(StudyError, match=said):
        refuse_devices(hardware, cost.too_large)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"devices_per_training": 0}, r"devices_per_training = 0 must be a whole number of at least 1, or one of auto"),
        ({"devices_per_training": "all"}, r"devices_per_training = 'all' must be"),
        ({"devices_per_training": 2, "device": "cuda:1"}, r"with device = 'cuda:1', which is one; set device = "),
        ({"devices_per_training": "auto", "device": "mps"}, r"with device = 'mps', which is one"),
    ],
)
def test_what_it_cannot_be_is_refused(given, said):
    with pytest.raises(StudyError, match=said):
        Hardware(**given)


def test_runs_of_several_devices_count_as_their_time_on_one():
    """A run of 100 s on 4 devices took 400 device-seconds: so do others like it, and so does its price."""
    items = [experiment(name) for name in "abcd"]
    done = [result(item, 100.0, 1000) for item in items[:3]]
    together = [type(item)(**vars(item) | {"devices": 4}) for item in done]
    one, four = (cost_of(*items, results=runs, workers=4, devices_per_training=4)[0] for runs in (done, together))
    assert four.seconds["d"] == pytest.approx(4 * one.seconds["d"], rel=0.2)
    assert four.wall_seconds_of("d") == pytest.approx(100.0, rel=0.3)
    spent = [
        spending(plan(*items), four, {run.experiment_id: run for run in runs}, Hardware(price_per_hour=9.0))
        for runs in (done, together)
    ]
    assert [item.done_money for item in spent] == pytest.approx([0.75, 3.0])


def test_a_result_says_its_devices_where_they_are_several():
    alone = result(experiment("a"), 100.0, 1000)
    assert "devices" not in alone.to_dict()
    several = type(alone)(**vars(alone) | {"devices": 2})
    assert several.to_dict()["devices"] == 2
    assert type(alone).from_dict(several.to_dict()) == several
    assert several.device_seconds == 200.0
