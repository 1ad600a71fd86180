"""Before `flops-fit ui` opens the pages: one daemon for a home, and no run held by a process that is gone."""

import os
import subprocess
import sys

import dagster as dg
import pytest
from pipeline_study import DAGSTER_WARNINGS

from flops_fit_assets.headless.dagster_runs import HEADLESS_TAG, end_lost_runs
from flops_fit_assets.instance.home import instance_directory, open_instance
from flops_fit_assets.instance.locks import AlreadyRunning, pages_lock
from flops_fit_assets.warm_runs.process_of_run import PROCESS_TAG, ProcessOfRun

pytestmark = DAGSTER_WARNINGS

FAILURE, STARTED = dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.STARTED


def test_runs_whose_process_is_gone_are_ended_and_the_others_left(tmp_path):
    given = {
        "lost": (STARTED, {}),
        "lost before it began": (dg.DagsterRunStatus.STARTING, {}),
        "headless": (STARTED, {HEADLESS_TAG: "tiny"}),
        "done": (dg.DagsterRunStatus.SUCCESS, {}),
        "goes on": (STARTED, ProcessOfRun.this().tags),
        "lost with its process": (STARTED, {PROCESS_TAG: f"{os.getpid()} 12@another boot"}),
    }
    with open_instance(tmp_path, 2) as instance:
        ids = {}
        for name, (status, tags) in given.items():
            ids[name] = instance.add_run(dg.DagsterRun(job_name="any", status=status, tags=tags)).run_id
        assert end_lost_runs(tmp_path) == 3
        after = {name: instance.get_run_by_id(run).status for name, run in ids.items()}
        last = instance.all_logs(ids["lost"])[-1]
    lost = dict.fromkeys(("lost", "lost before it began", "lost with its process"), FAILURE)
    assert after == {name: status for name, (status, _) in given.items()} | lost
    assert "the process that ran this was gone" in last.dagster_event.message


def test_a_home_that_was_never_used_has_none(tmp_path):
    assert end_lost_runs(tmp_path) == 0
    assert list(tmp_path.iterdir()) == []


def test_runs_on_other_machines_are_left_to_their_launcher(tmp_path):
    config = instance_directory(tmp_path, 2) / "dagster.yaml"
    elsewhere = "run_launcher:\n  module: dagster._core.test_utils\n  class: MockedRunLauncher\n"
    config.write_text(config.read_text() + elsewhere)
    with open_instance(tmp_path, 2) as instance:
        run = instance.add_run(dg.DagsterRun(job_name="any", status=STARTED)).run_id
        assert end_lost_runs(tmp_path) == 0
        assert instance.get_run_by_id(run).status == STARTED


def test_a_second_daemon_of_a_home_is_refused_also_while_only_a_child_holds_it(tmp_path):
    with pages_lock(tmp_path) as lock:
        command = [sys.executable, "-c", "input()"]
        child = subprocess.Popen(command, stdin=subprocess.PIPE, pass_fds=(lock.fileno(),))
    with child:
        message = r"process \d+ has the pages and the daemon of .* open"
        with pytest.raises(AlreadyRunning, match=message), pages_lock(tmp_path):
            pass
        child.communicate(b"\n")
    with pages_lock(tmp_path):
        pass
