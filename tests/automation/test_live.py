"""A few edits against a live daemon and web server; `benchmarks/live_edits.py` makes twenty."""

import time

import dagster as dg
import pytest
from dagster_pages import served, served_definitions
from live_daemon import Live
from live_processes import of_home
from pipeline_study import DAGSTER_WARNINGS, FINISHED, write_study
from webdriver import wait_for

from flops_fit.processes import forks
from flops_fit_assets.automation.retries import RETRY_OF_TAG
from flops_fit_assets.instance.home import open_instance
from flops_fit_assets.warm_runs.process_of_run import PROCESS_TAG

pytestmark = DAGSTER_WARNINGS


@pytest.fixture
def address(finished_home):
    """The pages of a study that a headless run has finished, and nobody else's."""
    with served(finished_home / "study.toml", finished_home) as address:
        yield address


def test_an_edit_starts_exactly_what_it_affects(address, tmp_path):
    """In forks, which start at once."""
    live = Live(tmp_path, address)
    live.edit(lambda text: "# a comment\n" + text, **FINISHED)
    live.switch_on()
    assert live.watched()["skipReason"] == "files changed, but nothing in what they mean"
    live.edit(budgets=(3e5, 6e5, 2e8), **FINISHED)  # two of its four sizes would need more tokens than there are
    started, tick = live.settle()
    assert started == {"sweep_plan": 1, "training_run": 2, "scaling_law": 1}
    assert tick["skipReason"] == "compute_budgets + 2e8, workers of [hardware] from 2 to 1: 2 added, 8 kept"
    assert any("warm_runs.server" in command for command in of_home(live.folder).values()) == forks.POSSIBLE
    with open_instance(live.folder, 2) as instance:
        forked = [run for run in instance.get_runs(limit=4) if PROCESS_TAG in run.tags]
    assert len(forked) == (4 if forks.POSSIBLE else 0)


@pytest.mark.long
def test_a_retry_that_dagster_forgot_is_started_once(address, tmp_path):
    with open_instance(tmp_path, 2) as instance:
        law = dg.AssetKey("scaling_law")
        lost = dg.DagsterRun(job_name="any", status=dg.DagsterRunStatus.STARTED, asset_selection=frozenset({law}))
        instance.add_run(lost)
        tags = {"dagster/will_retry": "true"}
        instance.report_run_failed(lost, "its process is gone")
        instance.add_run_tags(lost.run_id, tags)
    wait_for(lambda: retries_of(tmp_path, lost.run_id), 180, "the forgotten run to be started again")
    wait_for(lambda: retries_of(tmp_path, lost.run_id) == ["SUCCESS"], 60, "its end")
    time.sleep(65)  # two more looks of the sensor
    assert retries_of(tmp_path, lost.run_id) == ["SUCCESS"]


def retries_of(home, run):
    """The statuses of the runs that are retries of `run`."""
    with open_instance(home, 2) as instance:
        return [found.status.value for found in instance.get_runs(dg.RunsFilter(tags={RETRY_OF_TAG: run}))]


TWO_STUDIES = """\
import dagster as dg
from flops_fit_assets.definitions import build_study_definitions

defs = dg.Definitions.merge(
    build_study_definitions("first/study.toml", key_prefix="first", home="."),
    build_study_definitions("second/study.toml", key_prefix="second", home="."),
)
"""


@pytest.mark.long
def test_an_edit_of_one_study_starts_nothing_of_the_other_in_the_same_place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        write_study(tmp_path / name, sizes=3, name=name)
    (tmp_path / "two_studies.py").write_text(TWO_STUDIES)
    with served_definitions(tmp_path / "two_studies.py", tmp_path) as address:
        first, second = (Live(tmp_path / name, address, name) for name in ("first", "second"))
        first.switch_on()
        alone = {"first/size_map": 1, "first/sweep_plan": 1, "first/training_run": 6, "first/scaling_law": 1}
        assert first.settle()[0] == alone
        second.seen |= first.seen
        second.switch_on()
        assert second.settle()[0] == {key.replace("first", "second"): count for key, count in alone.items()}
        first.seen |= second.seen
        first.edit(budgets=(3e5, 6e5, 1.2e6), sizes=3)
        assert first.settle()[0] == {"first/sweep_plan": 1, "first/training_run": 3, "first/scaling_law": 1}
