"""Work that must not grow with all there is: counted, not timed."""

from collections import Counter

import dagster as dg
import numpy as np
import pandas as pd
import pytest
from pipeline_study import DAGSTER_WARNINGS, write_study

from flops_fit_assets.commands.import_runs import import_study_runs
from flops_fit_assets.graph.progress import say_progress
from flops_fit_assets.headless.dagster_runs import AssetRuns
from flops_fit_assets.headless.study import headless_study
from flops_fit_assets.instance.home import open_instance
from flops_fit_assets.storage import remembered, store

pytestmark = DAGSTER_WARNINGS


@pytest.fixture
def reads(monkeypatch):
    """Asset → how many of its files were read; every file counts as settled."""
    counts = Counter()
    monkeypatch.setattr(remembered, "_YOUNG_NS", -(10**18))
    for asset in ("sweep_plan", "training_run"):
        reader = store._READERS[asset]

        def counted(path, asset=asset, read=reader._read):
            counts[asset] += 1
            return read(path)

        monkeypatch.setattr(reader, "_read", counted)
    return counts


def test_trainings_of_a_process_read_the_plan_once(tmp_path, reads):
    runs = AssetRuns.of(write_study(tmp_path, sizes=3), tmp_path)
    with open_instance(tmp_path, 2) as instance:
        for stage in ("size_map", "sweep_plan"):
            runs.materialize(instance, stage)
        names = [item.experiment_id for item in runs.source.store.read("sweep_plan").experiments]
        reads.clear()
        for name in names:
            runs.materialize(instance, "training_run", name)
        assert reads["sweep_plan"] == 0, "it was read before"
        say_progress(runs.source, instance)
        reads.clear()
        (runs.source.store.runs / names[0] / "result.json").touch()
        runs.materialize(instance, "scaling_law")  # an event, so that there is something to say
        say_progress(runs.source, instance)
        assert reads["training_run"] == 1, "only that whose file was touched"


def test_an_import_reports_its_runs_together(tmp_path, monkeypatch):
    study = write_study(tmp_path, budgets=(3e5, 6e5, 1.2e6), sizes=4)
    with headless_study(study, tmp_path, console := _quiet()) as live:
        plan, _ = live.bring_plan_up_to_date()
    rows = [
        {"width": item.size_param_value, "num_tokens": item.num_tokens, "seed": item.seed, "loss": 1 + 1 / (1 + number)}
        for number, item in enumerate(plan.experiments)
    ]
    pd.DataFrame(rows).to_csv(tmp_path / "runs.csv", index=False)
    reported, report = [], dg.DagsterInstance.report_runless_asset_event

    def counted(instance, event):
        reported.append(event.asset_key.path[-1])
        return report(instance, event)

    monkeypatch.setattr(dg.DagsterInstance, "report_runless_asset_event", counted)
    done = import_study_runs(tmp_path / "runs.csv", study, tmp_path, console)
    assert len(done.new) == len(rows) == 12
    assert reported.count("training_run") == 1, "the others are stored with it"
    with open_instance(tmp_path, 2) as instance:
        assert instance.get_materialized_partitions(dg.AssetKey("training_run")) == set(done.new)
        records = instance.fetch_materializations(dg.AssetKey("training_run"), limit=50).records
    losses = {record.partition_key: record.asset_materialization.metadata["held-out loss"].value for record in records}
    expected = {item.experiment_id: row["loss"] for item, row in zip(plan.experiments, rows, strict=True)}
    assert losses == pytest.approx(expected, rel=1e-5)
    assert np.all([record.run_id == records[0].run_id for record in records])


def _quiet():
    import io

    from rich.console import Console

    return Console(file=io.StringIO())
