"""Materializations logged at once are to Dagster what `context.log_event` of each would have been."""

import time

import dagster as dg
import pytest
from pipeline_study import DAGSTER_WARNINGS, write_study

from flops_fit_assets.graph import batch_events
from flops_fit_assets.graph.batch_events import log_materializations, report_materializations
from flops_fit_assets.headless.dagster_runs import AssetRuns
from flops_fit_assets.instance.home import open_instance

pytestmark = DAGSTER_WARNINGS

KEY = dg.AssetKey("thing")
PARTITIONS = [f"p{number}" for number in range(5)]


def materialization(partition):
    return dg.AssetMaterialization(
        KEY, partition=partition, metadata={"number": 1.5}, tags={"dagster/data_version": f"v-{partition}"}
    )


def one_by_one(context, materializations):
    for item in materializations:
        context.log_event(item)


def logged(instance, log):
    """The run that logged five materializations by `log`."""

    @dg.asset
    def announcer(context: dg.AssetExecutionContext):
        log(context, [materialization(partition) for partition in PARTITIONS])

    result = dg.materialize([announcer], instance=instance)
    assert result.success
    return result.run_id


def described(entry):
    """Everything of an entry that does not differ from run to run."""
    text = repr(entry._replace(timestamp=0.0, run_id=""))
    return text.replace(entry.run_id, "run")


def entries_of(instance, run_id):
    return [
        entry
        for entry in instance.all_logs(run_id, of_type=dg.DagsterEventType.ASSET_MATERIALIZATION)
        if entry.asset_materialization.asset_key == KEY
    ]


@pytest.fixture(params=["sqlite", "in memory"])
def two_instances(request, tmp_path):
    """Two fresh instances of the same kind."""
    if request.param == "in memory":
        with dg.DagsterInstance.ephemeral() as one, dg.DagsterInstance.ephemeral() as other:
            yield one, other
    else:
        with open_instance(tmp_path / "one", 2) as one, open_instance(tmp_path / "other", 2) as other:
            yield one, other


def test_at_once_is_as_one_by_one(two_instances):
    expected, found = (
        (instance, logged(instance, log))
        for instance, log in zip(two_instances, (one_by_one, log_materializations), strict=True)
    )
    by_run = [[described(entry) for entry in entries_of(*of)] for of in (expected, found)]
    assert by_run[0] == by_run[1]
    assert len(by_run[0]) == len(PARTITIONS)
    for question in (
        lambda instance: instance.get_materialized_partitions(KEY),
        lambda instance: instance.get_latest_materialization_event(KEY).asset_materialization,
        lambda instance: [r.partition_key for r in instance.fetch_materializations(KEY, limit=10).records],
        lambda instance: [r.asset_materialization for r in instance.fetch_materializations(KEY, limit=10).records],
        lambda instance: instance.event_log_storage.get_event_tags_for_asset(KEY, {"dagster/data_version": "v-p3"}),
    ):
        assert question(expected[0]) == question(found[0])


def test_without_a_run_too(tmp_path):
    """As `report_runless_asset_event` of each, in batches of two of which the last is smaller."""
    with open_instance(tmp_path / "one", 2) as one, open_instance(tmp_path / "other", 2) as other:
        for partition in PARTITIONS[:4]:
            one.report_runless_asset_event(materialization(partition))
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(batch_events, "_TOGETHER", 2)
            report_materializations(other, [materialization(partition) for partition in PARTITIONS[:4]])
        records = [instance.fetch_materializations(KEY, limit=10).records for instance in (one, other)]
        said = [[described(record.event_log_entry) for record in of] for of in records]
        runs = {record.run_id for of in records for record in of}
    assert said[0] == said[1]
    assert len(said[0]) == 4
    assert len(runs) == 1


def test_nothing_to_announce_logs_nothing(tmp_path):
    with open_instance(tmp_path, 2) as instance:

        @dg.asset
        def announcer(context: dg.AssetExecutionContext):
            log_materializations(context, [])

        assert dg.materialize([announcer], instance=instance).success
        assert not instance.get_materialized_partitions(KEY)


def test_planning_many_experiments_costs_milliseconds_each(tmp_path):
    """One event after the other takes 15 ms of CPU each."""
    runs = AssetRuns.of(write_study(tmp_path, [3e5 * 1.03**step for step in range(60)], sizes=7), tmp_path)
    with open_instance(tmp_path, 2) as instance:
        runs.materialize(instance, "size_map")
        start = time.process_time()
        runs.materialize(instance, "sweep_plan")
        spent = time.process_time() - start
        announced = instance.get_materialized_partitions(dg.AssetKey("experiment"))
        assert announced == set(instance.get_dynamic_partitions("tiny_experiments"))
    assert len(announced) > 350
    assert spent < 0.008 * len(announced)
