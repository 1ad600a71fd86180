"""`study/progress` is true after every step of a study, whoever made it."""

import dagster as dg
import pytest
from pipeline_study import DAGSTER_WARNINGS, write_study

from flops_fit_assets.freshness.history import latest_materialization
from flops_fit_assets.graph.progress import new_progress, progress_sensor, say_progress
from flops_fit_assets.headless.dagster_runs import AssetRuns, RunFailed
from flops_fit_assets.instance.home import open_instance

pytestmark = DAGSTER_WARNINGS


def shown(runs, instance):
    """What the page says now, as plain values."""
    say_progress(runs.source, instance)
    event = latest_materialization(instance, dg.AssetKey(["study", "progress"]))
    return {name: entry.value for name, entry in event.metadata.items()}


def test_every_step_is_told(tmp_path):
    runs = AssetRuns.of(write_study(tmp_path, sizes=3, model="TinyMLP"), tmp_path)
    with open_instance(tmp_path, 2) as instance:
        assert shown(runs, instance)["trained"] == "nothing is planned yet"
        for stage in ("size_map", "sweep_plan"):
            runs.materialize(instance, stage)
        begun = shown(runs, instance)
        assert (begun["trained"], begun["spent"], begun["verdict"]) == ("0 of 6", "nothing", "no law yet")
        assert begun["time left"].endswith(" s on 1 worker")
        first, *rest = [item.experiment_id for item in runs.source.store.read("sweep_plan").experiments]
        runs.materialize(instance, "training_run", first)
        told = shown(runs, instance)
        result = runs.source.store.read("training_run", first)
        assert told["trained"] == "1 of 6"
        assert told["FLOPs spent"] == pytest.approx(result.flops, rel=1e-3)
        assert told["share trained"] == pytest.approx(1 / 6, rel=1e-3)
        assert f"[{first}](/flops_fit/tiny/runs/{first}), loss {result.loss:.4f}" in told["last trained"]
        assert "| 3.00e+05 | 1 of 3 |" in told["budgets"]
        assert new_progress(runs.source, instance) is None, "nothing new"
        for name in rest:
            runs.materialize(instance, "training_run", name)
        runs.materialize(instance, "scaling_law")
        ended = shown(runs, instance)
        assert (ended["trained"], ended["time left"], ended["left"]) == ("6 of 6", "none", "nothing")
        assert ended["verdict"].endswith(", by the law of 6 runs")
        assert ended["report"] == "/flops_fit/tiny/report.html"


def test_a_failed_training_is_told_with_its_reason(tmp_path):
    runs = AssetRuns.of(write_study(tmp_path, sizes=3, model="Fails", module="failing_model"), tmp_path)
    with open_instance(tmp_path, 2) as instance:
        for stage in ("size_map", "sweep_plan"):
            runs.materialize(instance, stage)
        name = runs.source.store.read("sweep_plan").experiments[-1].experiment_id
        with pytest.raises(RunFailed):
            runs.materialize(instance, "training_run", name)
        told = shown(runs, instance)
        assert told["trained"] == "0 of 6, 1 failed or stopped"
        (run,) = instance.get_runs(dg.RunsFilter(tags={"dagster/partition": name}))
        assert f"- [{name}](/runs/{run.run_id}): failed, " in told["failed"]


def test_the_sensor_says_it_in_its_tick_and_then_rests(tmp_path):
    runs = AssetRuns.of(write_study(tmp_path, sizes=3), tmp_path)
    sensor = progress_sensor(runs.source)
    with open_instance(tmp_path, 2) as instance:
        result = sensor(dg.build_sensor_context(instance=instance))
        assert result.skip_reason.skip_message == "nothing is planned yet"
        for event in result.asset_events:
            instance.report_runless_asset_event(event)
        assert isinstance(sensor(dg.build_sensor_context(instance=instance)), dg.SkipReason)
