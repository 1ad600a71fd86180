"""`on_log`: what a watcher of trainings is told, and that no watcher can end one."""

import math

import pytest
from tiny_study import experiment, tiny_study

from flops_fit import Hardware, Recipe, find_optimal, run_experiment
from flops_fit.cost.hardware import measure_peak, peak_to_show
from flops_fit.errors import FlopsFitWarning
from flops_fit.training.side_by_side import train_all

ALWAYS = {
    "experiment_id", "step", "tokens", "num_tokens", "planned_flops", "tokens_per_second", "flops_per_second",
    "utilisation", "seconds",
}  # fmt: skip


def events_of(study, experiments, folder, **options):
    events = []
    results = train_all(study, experiments, output_dir=folder, progress=False, on_log=events.append, **options)
    return results, events


def test_every_experiment_ends_with_its_last_step_and_its_outcome(tmp_path):
    study = tiny_study(hardware=Hardware(device="cpu", workers=2, peak_flops=1e10))
    planned = [experiment(num_tokens=tokens, name=f"run{tokens}") for tokens in (500, 2000, 4000)]
    results, events = events_of(study, planned, tmp_path)
    for one, result in zip(planned, results, strict=True):
        *_, last, ending = own = [event for event in events if event["experiment_id"] == one.experiment_id]
        assert set(last) == ALWAYS | {"steps", "loss", "learning_rate"}
        assert set(ending) == ALWAYS | {"status", "reason", "held_out_loss"}
        assert (last["step"], last["tokens"]) == (last["steps"], one.num_tokens)
        assert (ending["status"], ending["held_out_loss"]) == ("completed", result.loss)
        assert sum("status" in event for event in own) == 1
        assert last["planned_flops"] == 6 * one.num_params * one.num_tokens
        assert last["flops_per_second"] == pytest.approx(6 * one.num_params * last["tokens_per_second"])
        assert last["utilisation"] == pytest.approx(last["flops_per_second"] / 1e10)
    assert events_of(study, planned, tmp_path)[1] == [], "nothing is trained twice, so there is nothing to tell"


def test_the_learning_rate_is_that_of_the_step(tmp_path, monkeypatch):
    monkeypatch.setattr("flops_fit.training.loop._LOG_SECONDS", 0.0)
    events = []
    study = tiny_study(training=Recipe(learning_rate=0.5, schedule="constant", warmup_fraction=0.5, batch_tokens=10))
    run_experiment(study, experiment(num_tokens=100), output_dir=tmp_path, on_log=events.append)
    rates = [event["learning_rate"] for event in events[:-1]]
    assert rates == pytest.approx([0.05, 0.15, 0.25, 0.35, 0.45, 0.5, 0.5, 0.5, 0.5, 0.5])
    assert events[-2]["utilisation"] is None, "the peak is not known"


def test_an_error_in_on_log_is_said_once_and_ends_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr("flops_fit.training.loop._LOG_SECONDS", 0.0)

    def broken(event):
        raise ConnectionError("tracker is down")

    with pytest.warns(FlopsFitWarning, match="on_log raised ConnectionError: tracker is down") as said:
        result = run_experiment(tiny_study(), experiment(), output_dir=tmp_path / "one", on_log=broken)
    assert result.status == "completed"
    assert len(said) == 1
    with pytest.warns(FlopsFitWarning, match="tracker is down") as said:
        results = train_all(
            tiny_study(), [experiment()], output_dir=tmp_path / "all", progress=False, on_log=broken
        )  # fmt: skip
    assert [one.status for one in results] == ["completed"]
    assert len(said) == 1


def test_find_optimal_hands_on_what_happens(tmp_path):
    from tiny_study import OPTIONS, TinyMLP, held_out, train
    from torch.nn.functional import cross_entropy

    events = []
    law = find_optimal(
        TinyMLP, "width", None, train(), cross_entropy, [4e6, 8e6, 1.6e7], eval_dataset=held_out(),
        output_dir=tmp_path, on_log=events.append, **OPTIONS,
    )  # fmt: skip
    endings = [event for event in events if "status" in event]
    assert len(endings) == len({event["experiment_id"] for event in endings}) == len(list(tmp_path.glob("runs/*")))
    assert all(event["held_out_loss"] < math.log(4) for event in endings)
    assert sorted(law.runs.loss) == sorted(event["held_out_loss"] for event in endings), "fitted to what was told"


def test_the_peak_is_measured_only_where_trainings_take_longer_than_that(monkeypatch):
    monkeypatch.setattr("flops_fit.cost.hardware.measure_peak", lambda *_: 7e10)
    assert peak_to_show(Hardware(device="cpu"), 5e10 * 29) is None
    assert peak_to_show(Hardware(device="cpu"), 5e10 * 31) == 7e10
    assert peak_to_show(Hardware(device="cpu", peak_flops=3.0), 1e18) == 3.0
    assert peak_to_show(Hardware(accelerator="H100-SXM"), 1.0) == 989.4e12


def test_a_measured_peak_is_that_of_a_machine():
    assert 1e8 < measure_peak("cpu") < 1e13
