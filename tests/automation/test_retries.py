"""A retry that Dagster's daemon forgot is found in the history, once, and only where nothing was done since."""

from datetime import UTC, datetime, timedelta

import dagster as dg
import pytest
from dagster._core.remote_origin import RegisteredCodeLocationOrigin, RemoteJobOrigin, RemoteRepositoryOrigin
from pipeline_study import DAGSTER_WARNINGS, write_study

from flops_fit_assets.automation.retries import RETRY_OF_TAG, forgotten_retries, retry_sensor, still_to_come
from flops_fit_assets.instance.home import instance_directory
from flops_fit_assets.source import StudySource

pytestmark = DAGSTER_WARNINGS

PARTITION = "c300000-width4-s0-0026bfc0"


@pytest.fixture
def source(tmp_path):
    return StudySource.of(write_study(tmp_path), home=tmp_path)


@pytest.fixture
def instance(source, tmp_path):
    """The instance that `flops-fit ui` serves, with the partition planned."""
    with dg.DagsterInstance.from_config(str(instance_directory(tmp_path, 2))) as instance:
        instance.add_dynamic_partitions(source.partitions.name, [PARTITION])
        yield instance


def lose(instance, key, partition=None, launched=None):
    """A run of `key` whose process is gone, which Dagster itself then marks to be tried again."""
    tags = {"dagster/partition": partition} if partition else {}
    run = dg.DagsterRun(
        job_name="any", status=dg.DagsterRunStatus.STARTED, asset_selection=frozenset({key}), tags=tags,
        remote_job_origin=launched,
    )  # fmt: skip
    instance.add_run(run)
    instance.report_run_failed(run, "its process is gone")
    assert instance.get_run_by_id(run.run_id).tags["dagster/will_retry"] == "true"
    return run.run_id


def forgotten(source, instance, seconds=61):
    return forgotten_retries(source, instance, datetime.now(UTC) + timedelta(seconds=seconds))


def test_it_is_asked_for_when_dagster_has_had_a_minute(source, instance):
    lost = lose(instance, source.key("training_run"), PARTITION)
    assert forgotten(source, instance, seconds=50) == []
    (request,) = forgotten(source, instance)
    assert request.asset_selection == [source.key("training_run")]
    assert request.partition_key == PARTITION
    assert request.tags[RETRY_OF_TAG] == lost
    assert forgotten(source, instance, seconds=25 * 3600) == []


@pytest.mark.parametrize("tag", ["dagster/parent_run_id", RETRY_OF_TAG])
def test_not_where_a_retry_was_begun(source, instance, tag):
    lost = lose(instance, source.key("training_run"), PARTITION)
    instance.add_run(dg.DagsterRun(job_name="any", tags={tag: lost}))
    assert forgotten(source, instance) == []


def test_not_where_it_was_materialized_since(source, instance):
    training, plan = source.key("training_run"), source.key("sweep_plan")
    lose(instance, training, PARTITION)
    lose(instance, plan)
    instance.report_runless_asset_event(dg.AssetMaterialization(training, partition="another"))
    assert len(forgotten(source, instance)) == 2
    instance.report_runless_asset_event(dg.AssetMaterialization(training, partition=PARTITION))
    (left,) = forgotten(source, instance)
    assert left.asset_selection == [plan]
    instance.report_runless_asset_event(dg.AssetMaterialization(plan))
    assert forgotten(source, instance) == []


def test_not_for_what_is_not_of_the_study(source, instance):
    lose(instance, dg.AssetKey(["other", "training_run"]), PARTITION)
    lose(instance, dg.AssetKey("report"))
    assert forgotten(source, instance) == []


def test_not_for_an_experiment_that_is_no_longer_planned(source, instance):
    lose(instance, source.key("training_run"), PARTITION)
    instance.delete_dynamic_partition(source.partitions.name, PARTITION)
    assert forgotten(source, instance) == []


def test_the_sensor_starts_it_as_the_run_that_it_was(source, instance, monkeypatch):
    from flops_fit_assets.automation import retries
    from flops_fit_assets.definitions import definitions_of

    monkeypatch.setattr(retries, "_DAGSTERS_TURN", timedelta(0))
    repository = definitions_of(source).get_repository_def()
    sensor = repository.get_sensor_def(retry_sensor(source).name)

    def tick():
        context = dg.SensorEvaluationContext(instance.get_ref(), None, None, None, None, repository_def=repository)
        with context:
            return sensor.evaluate_tick(context)

    assert tick().skip_message == "no run was forgotten"
    lost = lose(instance, source.key("training_run"), PARTITION)
    (request,) = tick().run_requests
    assert request.run_key == f"retry of {lost}"
    assert request.partition_key == PARTITION


BY_THE_DAEMON = RemoteJobOrigin(
    RemoteRepositoryOrigin(RegisteredCodeLocationOrigin("flops_fit"), "__repository__"), "any"
)
LAUNCHED = dg.DagsterRunStatus.QUEUED, dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING


@pytest.mark.parametrize("status", LAUNCHED)
def test_what_trains_is_still_to_come(instance, status):
    tags = {"dagster/partition": PARTITION}
    instance.add_run(dg.DagsterRun(job_name="any", status=dg.DagsterRunStatus.SUCCESS, tags=tags))
    assert still_to_come(instance, [PARTITION, "never launched"]) == []
    instance.add_run(dg.DagsterRun(job_name="any", status=status, tags=tags, remote_job_origin=BY_THE_DAEMON))
    assert still_to_come(instance, [PARTITION, "never launched"]) == [PARTITION]


def test_what_was_killed_comes_until_it_was_started_again_as_often_as_promised(source, instance):
    lost = lose(instance, source.key("training_run"), PARTITION)
    assert still_to_come(instance, [PARTITION]) == [], "its own process began it, which is no longer there"
    instance.delete_run(lost)
    lost = lose(instance, source.key("training_run"), PARTITION, launched=BY_THE_DAEMON)
    assert still_to_come(instance, [PARTITION]) == [PARTITION]
    instance.add_run_tags(lost, {"dagster/auto_retry_run_id": "the next, which failed for good"})
    assert still_to_come(instance, [PARTITION]) == []
