"""Runs as forks of a process that has loaded their code location; `tests/automation/test_live.py` has them launched."""

import os
import shutil

import dagster as dg
import pytest
from dagster._core.definitions.reconstruct import ReconstructableRepository
from dagster._core.launcher import LaunchRunContext
from dagster._grpc.types import ExecuteRunArgs
from dagster._serdes import serialize_value
from paths import HELPERS
from pipeline_study import DAGSTER_WARNINGS
from webdriver import wait_for

from flops_fit.processes import forks
from flops_fit_assets.warm_runs.forked_from import Base, CannotFork, base
from flops_fit_assets.warm_runs.launcher import WarmRunLauncher
from flops_fit_assets.warm_runs.process_of_run import PROCESS_TAG, ProcessOfRun

pytestmark = [
    *DAGSTER_WARNINGS,
    pytest.mark.slow,
    pytest.mark.skipif(not forks.POSSIBLE, reason="runs are no forks here"),
]
LAUNCHER = {"run_launcher": {"module": "flops_fit_assets.warm_runs.launcher", "class": "WarmRunLauncher"}}


class Place:
    """A code location in a folder, its instance, and forks of it."""

    def __init__(self, folder):
        self.folder = folder
        shutil.copy(f"{HELPERS}/forked_definitions.py", folder)
        self.write("VALUE = 1\n")
        (folder / "setting.txt").write_text("one")
        (folder / "dagster").mkdir()
        self.instance = dg.DagsterInstance.local_temp(str(folder / "dagster"), overrides=LAUNCHER)
        file = str(folder / "forked_definitions.py")
        self.job = ReconstructableRepository.for_file(file, "defs", str(folder)).get_reconstructable_job("__ASSET_JOB")

    def write(self, text):
        """What the module says that the definitions import, long before anything loads it."""
        (self.folder / "forked_value.py").write_text(text)
        os.sync()

    def forks(self, idle_seconds=60.0):
        origin = serialize_value(self.job.get_python_origin().repository_origin)
        return base().location(origin, idle_seconds, self.instance.run_launcher._ended)

    def ask(self, location, asset, timeout=60.0):
        """The run of an asset, and what the location answered."""
        run, called = self.call(asset)
        return run, location.run(run, called, timeout)

    def call(self, asset):
        """A run of an asset, and what a process is asked that is to run it."""
        origin = self.job.get_python_origin()
        run = self.instance.create_run(
            run_id=None, job_name="__ASSET_JOB", run_config={}, status=dg.DagsterRunStatus.STARTING, tags={},
            root_run_id=None, parent_run_id=None, step_keys_to_execute=None, execution_plan_snapshot=None,
            job_snapshot=None, parent_job_snapshot=None, asset_selection={dg.AssetKey(asset)},
            asset_check_selection=None, resolved_op_selection=None, op_selection=None, remote_job_origin=None,
            job_code_origin=origin, asset_graph=None,
        )  # fmt: skip
        called = ExecuteRunArgs(job_origin=origin, run_id=run.run_id, instance_ref=self.instance.get_ref())
        return run.run_id, serialize_value(called)

    def ended(self, run):
        """The status that a run ends with."""
        wait_for(lambda: self.instance.get_run_by_id(run).is_finished, 60, run)
        return self.instance.get_run_by_id(run).status.value

    def said(self, location):
        """What a run of `says` said."""
        run, answer = self.ask(location, "says")
        assert answer == "began"
        assert self.ended(run) == "SUCCESS"
        latest = self.instance.get_latest_materialization_event(dg.AssetKey("says")).asset_materialization
        return {key: found.value for key, found in latest.metadata.items()} | {
            "process": ProcessOfRun.of(self.instance.get_run_by_id(run))
        }


@pytest.fixture
def place(tmp_path):
    found = Place(tmp_path)
    yield found
    found.instance.dispose()


def test_two_runs_are_processes_of_their_own_that_one_has_loaded(place):
    location = place.forks()
    first, second = place.said(location), place.said(location)
    assert first["loaded by"] == second["loaded by"]
    assert len({first["loaded by"], first["runs in"], second["runs in"], os.getpid()}) == 4
    assert first["number"] != second["number"]
    assert first["process"].number == first["runs in"]
    wait_for(lambda: not second["process"].lives, 30, "the end of the process")


def test_an_edited_source_is_loaded_anew(place):
    location = place.forks()
    assert place.said(location)["value"] == 1
    place.write("VALUE = 20\n")  # of another length: Python takes compiled code of the same second and length for it
    assert place.ask(location, "says")[1] == "stale"
    location.leave()
    wait_for(lambda: place.ask(place.forks(), "says")[1] == "began", 30, "a location that trusts what it loaded")
    assert place.said(place.forks())["value"] == 20


def test_what_the_definitions_read_when_they_are_made_is_read_anew_once_it_changes(place):
    """Such as the study file, in a project whose definitions are made when its module is imported."""
    location = place.forks()
    assert place.said(location)["setting"] == "one"
    (place.folder / "setting.txt").write_text("two")
    assert place.ask(location, "says")[1] == "stale"
    wait_for(lambda: place.ask(place.forks(), "says")[1] == "began", 30, "a location that trusts what it read")
    assert place.said(place.forks())["setting"] == "two"


def test_a_run_whose_process_is_killed_fails_with_the_signal(place):
    run, _ = place.ask(place.forks(), "dies")
    assert place.ended(run) == "FAILURE"
    said = [event.message for event in place.instance.all_logs(run)]
    assert any("was terminated by signal 9 (SIGKILL)" in (text or "") for text in said), said


def test_a_run_is_terminated_and_is_known_to_live_until_then(place):
    launcher = place.instance.run_launcher
    assert isinstance(launcher, WarmRunLauncher)
    run, _ = place.ask(place.forks(), "waits")
    wait_for((place.folder / "begun").exists, 30, "the run")
    assert launcher.check_run_worker_health(place.instance.get_run_by_id(run)).status.value == "RUNNING"
    assert launcher.terminate(run)
    assert place.ended(run) == "CANCELED"
    ended = place.instance.get_run_by_id(run)
    wait_for(lambda: launcher.check_run_worker_health(ended).status.value == "FAILED", 30, "the end of the process")
    assert not launcher.terminate(run)


def test_a_run_under_way_goes_on_when_nobody_asks_any_more(place):
    location = place.forks()
    run, _ = place.ask(location, "waits")
    wait_for((place.folder / "begun").exists, 30, "the run")
    location.leave()
    assert place.ask(location, "says")[1] == "gone"
    (place.folder / "go on").touch()
    assert place.ended(run) == "SUCCESS"


def test_it_ends_when_it_is_idle(place):
    location = place.forks(idle_seconds=0.5)
    assert place.said(location)["value"] == 1
    wait_for(lambda: location.gone, 30, "its end")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("raise ValueError('not today')\n", "not today"),
        ("import threading, time\nVALUE = 1\nthreading.Thread(target=time.sleep, args=(9,)).start()\n", "threads"),
    ],
)
def test_what_cannot_be_forked_is_said(place, text, reason):
    place.write(text)
    with pytest.raises(CannotFork, match=reason):
        place.ask(place.forks(), "says")


def test_who_is_no_longer_waited_for_runs_nothing_once_it_is_loaded(place):
    """The code server has been asked for the run meanwhile."""
    place.write("import pathlib, time\nVALUE = 1\nwhile not pathlib.Path(__file__).with_name('load').exists():\n"
                "    time.sleep(0.05)\n")  # fmt: skip
    location = place.forks()
    run, called = place.call("waits")
    with pytest.raises(CannotFork, match=r"not loaded within 0.2 s"):
        location.run(run, called, 0.2)
    (place.folder / "load").touch()
    assert location._answers.get(timeout=60) == {"kind": "gone"}
    assert place.instance.get_run_by_id(run).status.value == "STARTING"
    assert not (place.folder / "begun").exists()


def test_a_process_that_ended_just_now_is_gone_and_no_error(place):
    ended = Base()
    ended._process.kill()
    ended._process.wait()
    origin = serialize_value(place.job.get_python_origin().repository_origin)
    assert place.ask(ended.location(origin, 60.0, place.instance.run_launcher._ended), "says")[1] == "gone"
    ended.leave()


def test_a_run_that_repeats_a_fork_and_is_none_is_not_looked_for_in_its_process(place, monkeypatch):
    asked = []
    monkeypatch.setattr(forks, "POSSIBLE", False)
    monkeypatch.setattr(
        dg.DefaultRunLauncher, "launch_run", lambda _, context: asked.append(context.dagster_run.run_id)
    )
    launcher, (run, _) = place.instance.run_launcher, place.call("says")
    place.instance.add_run_tags(run, {PROCESS_TAG: "1 12@another boot"})
    launcher.launch_run(LaunchRunContext(place.instance.get_run_by_id(run), workspace=None))
    assert asked == [run]
    assert launcher.check_run_worker_health(place.instance.get_run_by_id(run)).status.value == "RUNNING"


def test_a_process_number_that_another_has_now_is_not_taken_for_the_run():
    mine = ProcessOfRun.this()
    assert mine.lives
    assert not ProcessOfRun(number=mine.number, began="12@another boot").lives
    assert not ProcessOfRun(number=mine.number, began="12@another boot").interrupt()
    assert ProcessOfRun.of(dg.DagsterRun(job_name="any", tags=mine.tags)) == mine
    assert ProcessOfRun.of(dg.DagsterRun(job_name="any", tags={PROCESS_TAG: "nonsense"})) is None
