"""Edits of a study against a live daemon and web server: exactly the runs that they affect are started, once."""

import time
from collections import Counter

import pytest
from dagster_pages import runs, served, switch_on
from pipeline_study import DAGSTER_WARNINGS, write_study
from webdriver import wait_for

pytestmark = [pytest.mark.slow, *DAGSTER_WARNINGS]

_ENDED = {"SUCCESS", "FAILURE", "CANCELED"}
_QUIET_SECONDS = 40  # several ticks of every sensor without a new run


class Live:
    """A study with its automation on."""

    def __init__(self, folder, address):
        self.folder, self.address, self.seen = folder, address, set()
        for sensor in ("automation_tiny", "watch_tiny"):
            switch_on(address, sensor)

    def edit(self, text=None, **changes):
        path = write_study(self.folder, **changes)
        if text:
            path.write_text(path.read_text() + text)

    def started(self, at_least=0, seconds=420):
        """How many runs of each asset ended well since last asked, once nothing has happened for a while."""
        wait_for(lambda: len(runs(self.address).keys() - self.seen) >= at_least, seconds, f"{at_least} runs")
        quiet_since, before = time.monotonic(), None
        while time.monotonic() - quiet_since < _QUIET_SECONDS:
            now = runs(self.address)
            if now != before or any(status not in _ENDED for status, _, _ in now.values()):
                quiet_since, before = time.monotonic(), now
            time.sleep(1)
        new = {run: now[run] for run in now.keys() - self.seen}
        self.seen |= new.keys()
        assert {status for status, _, _ in new.values()} <= {"SUCCESS"}, new
        return Counter(asset for _, asset, _ in new.values())


def test_each_edit_starts_exactly_what_it_affects(tmp_path):
    study = write_study(tmp_path, budgets=(3e5, 6e5), sizes=3)
    with served(study, tmp_path) as address:
        live = Live(tmp_path, address)
        first = live.started(at_least=9)
        assert first == {"size_map": 1, "sweep_plan": 1, "training_run": 6, "scaling_law": 1}
        live.edit(budgets=(3e5, 6e5), sizes=3, text="\n# a comment\n")
        assert live.started() == {}
        live.edit(budgets=(3e5, 6e5, 1.2e6), sizes=3)
        assert live.started(at_least=5) == {"sweep_plan": 1, "training_run": 3, "scaling_law": 1}
        live.edit(budgets=(3e5, 6e5), sizes=3)
        assert live.started(at_least=2) == {"sweep_plan": 1, "scaling_law": 1}
        live.edit(budgets=(3e5, 6e5, 1.2e6), sizes=3)
        assert live.started(at_least=2) == {"sweep_plan": 1, "scaling_law": 1}
        (tmp_path / "study.toml").write_text('name = "ti')
        assert live.started() == {}
