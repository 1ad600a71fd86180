"""Runs launched on a Ray cluster by configuration alone; one of them is killed in the middle of its training."""

import json
import os
import re
import signal
from collections import Counter
from importlib.util import find_spec

import pytest
from dagster_pages import messages, served
from live_daemon import Live
from live_processes import of_home
from pipeline_study import DAGSTER_WARNINGS, materializations, result_files
from ray_cluster import launch_on, ray_cluster
from slow_trainings import longest, progress, runs_of, well_under_way, write_slow_study
from webdriver import wait_for

from flops_fit import load_runs

for package in ("ray", "dagster_ray"):
    if find_spec(package) is None:  # not imported here: it takes a second, also where these tests are left out
        pytest.skip(f"{package} is not installed; pip install 'flops-fit[ray]'", allow_module_level=True)

pytestmark = [*DAGSTER_WARNINGS, pytest.mark.ray]


def planned_in(home):
    """The experiments of the plan; none while there is no plan."""
    plan = home / "tiny" / "sweep_plan.json"
    return json.loads(plan.read_text())["experiments"] if plan.exists() else []


def kill(address, run):
    """`kill -9` of the process that does a run, which is one of this machine's."""
    (process,) = {int(found[1]) for text in messages(address, run) if (found := re.search(r"\(pid: (\d+)\)", text))}
    os.kill(process, signal.SIGKILL)


def test_a_worker_killed_on_ray_is_named_and_its_training_goes_on(tmp_path):
    study = write_slow_study(tmp_path)
    with ray_cluster() as cluster:
        launch_on(cluster, tmp_path)
        with served(study, tmp_path) as address:
            live = Live(tmp_path, address)
            live.switch_on()
            partition = wait_for(lambda: longest(planned_in(tmp_path)), 480, "a plan")
            killed = wait_for(lambda: well_under_way(address, partition), 480, "40 % of the longest training")
            kill(address, killed)
            wait_for(lambda: runs_of(address, partition)[killed] == "FAILURE", 120, "the killed run to be found")
            wait_for(lambda: len(runs_of(address, partition)) == 2, 120, "another run of the same training")
            done, _ = live.settle(killed={killed})
            here = of_home(tmp_path).values()
            (again,) = runs_of(address, partition).keys() - {killed}
            first, second = messages(address, killed), messages(address, again)

    assert any("Ray run job created" in text for text in first), "it was Ray that ran it"
    assert not [command for command in here if "warm_runs.server" in command], "and nothing waits here to be forked"
    assert any("Detected run worker status" in text and "FAILED" in text for text in first), first
    assert progress(second)[0] >= 0.3, "it went on from its checkpoint"

    planned = [item["experiment_id"] for item in planned_in(tmp_path)]
    assert done["training_run"] == len(planned) == materializations(tmp_path)["training_run"]
    assert sorted(result_files(tmp_path)) == sorted(planned)
    table = load_runs(tmp_path / "tiny/runs.csv")
    assert Counter(table["experiment_id"]) == Counter(planned), "the law has each of them, once"
    assert set(table["status"]) == {"completed"}
    for name in planned:
        log = (tmp_path / "tiny/runs" / name / "log.jsonl").read_text().splitlines()
        steps = [json.loads(line)["step"] for line in log if "step" in json.loads(line)]
        assert steps == sorted(set(steps)), "no step was done twice"
