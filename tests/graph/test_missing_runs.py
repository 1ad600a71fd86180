"""What a law lacks is said with why, and leads to the run that failed."""

import dagster as dg
import pytest
from pipeline_study import DAGSTER_WARNINGS, write_study

from flops_fit.results.results import failed_result
from flops_fit.sweep.experiment import Experiment
from flops_fit_assets.freshness.history import latest_materialization
from flops_fit_assets.graph import checks
from flops_fit_assets.headless.dagster_runs import AssetRuns, RunFailed
from flops_fit_assets.instance.home import open_instance
from flops_fit_assets.metadata.missing import missing_experiments

pytestmark = DAGSTER_WARNINGS


def test_the_law_leads_to_the_last_run_of_what_failed(tmp_path):
    runs = AssetRuns.of(write_study(tmp_path, sizes=4, model="FailsWhenWide", module="failing_model"), tmp_path)
    with open_instance(tmp_path, 2) as instance:
        for stage in ("size_map", "sweep_plan"):
            runs.materialize(instance, stage)
        planned = runs.source.store.read("sweep_plan").experiments
        wide = next(item.experiment_id for item in planned if item.size_param_value >= 30)
        narrow = [item.experiment_id for item in planned if item.size_param_value < 30]
        for _ in range(2):
            with pytest.raises(RunFailed):
                runs.materialize(instance, "training_run", wide)
        for name in narrow[:-1]:
            runs.materialize(instance, "training_run", name)
        runs.materialize(instance, "scaling_law")
        law = latest_materialization(instance, dg.AssetKey("scaling_law")).metadata
        last = max(
            instance.get_run_records(dg.RunsFilter(tags={"dagster/partition": wide})), key=lambda run: run.storage_id
        )
    told = law["missing"].value.splitlines()
    assert f"- [{wide}](/runs/{last.dagster_run.run_id}): failed, RuntimeError: wide models have a bug" in told
    assert f"- `{narrow[-1]}`: not trained" in told
    assert len(told) == law["experiments missing"].value == len(planned) - len(narrow) + 1


def test_thousands_are_not_listed():
    planned = [Experiment(experiment_id=f"e{k}", compute_budget=6e4, size_param_value=1, num_params=100, num_tokens=100)
               for k in range(5000)]  # fmt: skip
    names = [item.experiment_id for item in planned]
    left = {"e0": failed_result(planned[0], "a bug\nin line 7")}
    shown = missing_experiments(names, left, {"e0": "r-0", "e1": "r-1"}, 3).value
    assert shown.splitlines() == [
        "- [e0](/runs/r-0): failed, a bug",
        "- [e1](/runs/r-1): its run has not ended, or ended without a result",
        "- `e2`: not trained",
        "- and 4,997 more",
    ]
    named = checks._named(names)
    assert named.startswith("e0, e1, ")
    assert named.endswith(" and 4,960 more")
    assert len(named) < 400
    assert checks._named(names[:2]) == "e0, e1"
