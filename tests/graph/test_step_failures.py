"""A step that the disk or a database fails says so in a line with the remedy, in the pages and on the command line."""

import errno
import os
import shutil
import sqlite3
from pathlib import Path

import dagster as dg
import pytest
from pipeline_study import DAGSTER_WARNINGS, FINISHED, write_study

from flops_fit.errors import FitError
from flops_fit_assets.graph.step_failures import failing_readably
from flops_fit_assets.headless.dagster_runs import AssetRuns, RunFailed
from flops_fit_assets.instance.home import open_instance

pytestmark = DAGSTER_WARNINGS


@pytest.mark.parametrize("file", ["report.html", "scaling_law.json"])  # one the step writes, one its IO manager
def test_a_full_disk_in_a_step_is_one_line_with_the_remedy(finished, tmp_path, monkeypatch, file):
    home = shutil.copytree(finished, tmp_path / "home")
    study, there = write_study(home, (3e5, 6e5), **FINISHED), (home / "tiny" / file).read_bytes()
    replace = os.replace

    def full(source, target):
        if Path(target).name == file:
            raise OSError(errno.ENOSPC, "No space left on device", str(target))
        replace(source, target)

    monkeypatch.setattr(os, "replace", full)
    with open_instance(home, 1) as instance:
        with pytest.raises(RunFailed) as refused:
            AssetRuns.of(study, home).materialize(instance, "scaling_law")
        [run] = instance.get_runs(limit=1)
        [failure] = [entry.dagster_event for entry in instance.all_logs(run.run_id, dg.DagsterEventType.STEP_FAILURE)]
    said = failure.event_specific_data.user_failure_data.description
    assert said == (
        f"{home / 'tiny' / file}: No space left on device; free some space and run again; what is finished is kept"
    )
    assert str(refused.value) == f"scaling_law: {said}"
    assert (home / "tiny" / file).read_bytes() == there


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "/data/law.json"), "/data/law.json: .*free some space"),
        (sqlite3.OperationalError("database or disk is full"), "database in .*free some space"),
        (FitError("2 usable runs"), "^2 usable runs$"),
    ],
)
def test_trouble_becomes_a_failure_of_the_step(error, said):
    with pytest.raises(dg.Failure, match=said), failing_readably():
        raise error


@pytest.mark.parametrize("error", [ZeroDivisionError("a fault of ours"), dg.Failure("said already")])
def test_any_other_error_goes_on_as_it_is(error):
    with pytest.raises(type(error)) as raised, failing_readably():
        raise error
    assert raised.value is error
