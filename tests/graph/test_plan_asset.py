"""Planning in Dagster: the launchpad's overrides, the schedule, and what each asset says of itself."""

import dagster as dg
import pytest
from pipeline_study import DAGSTER_WARNINGS, write_study

from flops_fit_assets.definitions import build_study_definitions
from flops_fit_assets.freshness.history import latest_materialization, latest_version
from flops_fit_assets.headless.dagster_runs import AssetRuns, RunFailed
from flops_fit_assets.instance.home import open_instance
from flops_fit_assets.storage.store import StudyStore

pytestmark = DAGSTER_WARNINGS


@pytest.fixture(scope="module")
def planned(tmp_path_factory):
    """A study with its size map and plan made; a function that plans again with the launchpad's values."""
    folder = tmp_path_factory.mktemp("planned")
    runs = AssetRuns.of(write_study(folder), folder)
    with open_instance(folder, 2) as instance:
        for stage in ("size_map", "sweep_plan"):
            runs.materialize(instance, stage)
        job = build_study_definitions(runs.path, home=folder).resolve_implicit_global_asset_job_def()

        def plan_again(**config):
            return job.execute_in_process(
                run_config={"ops": {"sweep_plan": {"config": config}}},
                instance=instance,
                asset_selection=[dg.AssetKey("sweep_plan")],
                raise_on_error=False,
            )

        yield runs, instance, plan_again


def the_plan(runs):
    return runs.source.store.read("sweep_plan")


def test_the_launchpad_overrides_the_grid_and_says_so(planned):
    runs, instance, plan_again = planned
    assert plan_again(compute_budgets=["3e5", 1200000], num_sizes_per_budget=3).success
    assert the_plan(runs).compute_budgets == [3e5, 1.2e6]
    shown = latest_materialization(instance, dg.AssetKey("sweep_plan")).metadata["override"].value
    assert "`compute_budgets = (300000.0, 1200000.0)`" in shown
    assert "`num_sizes_per_budget = 3`" in shown
    assert set(instance.get_dynamic_partitions("tiny_experiments")) == {
        item.experiment_id for item in the_plan(runs).experiments
    }


def test_without_overrides_the_study_counts_again(planned):
    runs, instance, plan_again = planned
    plan_again()
    before = the_plan(runs)
    plan_again(num_sizes_per_budget=2)
    plan_again()
    assert the_plan(runs).to_dict() == before.to_dict()
    assert "override" not in latest_materialization(instance, dg.AssetKey("sweep_plan")).metadata


def test_budgets_in_another_order_make_the_same_plan(planned):
    runs, instance, plan_again = planned
    plan_again()
    before, version = the_plan(runs), latest_version(instance, dg.AssetKey("sweep_plan"))
    announced = len(instance.fetch_materializations(dg.AssetKey("experiment"), limit=1000).records)
    assert plan_again(compute_budgets=before.compute_budgets[::-1]).success
    assert the_plan(runs).compute_budgets == before.compute_budgets[::-1]
    assert the_plan(runs).experiments == before.experiments
    assert latest_version(instance, dg.AssetKey("sweep_plan")) == version
    assert len(instance.fetch_materializations(dg.AssetKey("experiment"), limit=1000).records) == announced


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"compute_budgets": [-1]}, "compute budget -1 must be above 0"),
        ({"compute_budgets": ["1e18 FLOPs"]}, "compute budget '1e18 FLOPs' is text that is no number"),
        ({"compute_budgets": []}, "sweep.compute_budgets"),
        ({"compute_budgets": ["3e5", 1.0]}, "budget 1.00e+00 FLOPs admits no size: the smallest"),
        ({"num_sizes_per_budget": 0}, "num_sizes_per_budget"),
        ({"tokens_per_param": -3.0}, "tokens_per_param"),
    ],
)
@pytest.mark.filterwarnings("ignore:budget .* admits no size")
def test_a_bad_value_is_refused_and_the_plan_stands(planned, config, message):
    runs, instance, plan_again = planned
    before, keys = the_plan(runs), instance.get_dynamic_partitions("tiny_experiments")
    result = plan_again(**config)
    assert not result.success
    failure = next(event for event in result.all_events if event.is_step_failure)
    assert message in failure.step_failure_data.user_failure_data.description
    assert the_plan(runs).to_dict() == before.to_dict()
    assert instance.get_dynamic_partitions("tiny_experiments") == keys


def test_a_plan_changed_by_hand_trains_nothing(planned):
    runs, instance, plan_again = planned
    plan_again()
    path = runs.source.directory / "sweep_plan.json"
    text = path.read_text()
    experiment = the_plan(runs).experiments[0]
    path.write_text(
        text.replace(f'"num_tokens": {experiment.num_tokens}', f'"num_tokens": {experiment.num_tokens + 7}')
    )
    with pytest.raises(RunFailed, match=r"sweep_plan\.json: was changed since it was written"):
        runs.materialize(instance, "training_run", experiment.experiment_id)
    path.write_text(text)


def test_what_plans_by_itself_is_off_until_switched_on_and_what_keeps_promised_retries_is_on(planned):
    runs, _, _ = planned
    definitions = build_study_definitions(runs.path, home=runs.home)
    assert [item.default_status for item in definitions.schedules] == [dg.DefaultScheduleStatus.STOPPED]
    assert {item.name: item.default_status for item in definitions.sensors} == {
        "watch_tiny": dg.DefaultSensorStatus.STOPPED,
        "automation_tiny": dg.DefaultSensorStatus.STOPPED,
        "retries_tiny": dg.DefaultSensorStatus.RUNNING,
        "progress_tiny": dg.DefaultSensorStatus.RUNNING,
    }


def test_every_asset_is_described(planned):
    runs, _, _ = planned
    for spec in build_study_definitions(runs.path, home=runs.home).resolve_all_asset_specs():
        assert len(spec.description) > 20
        assert spec.group_name == "tiny"


def test_an_experiment_id_from_outside_the_plan_cannot_leave_the_folder(tmp_path):
    for name in ("../elsewhere", "/etc/passwd", "..", ".hidden", ""):
        with pytest.raises(ValueError, match="is not an experiment id"):
            StudyStore(directory=tmp_path).path("training_run", name)
