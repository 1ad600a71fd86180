"""How often the daemon of the pages looks: as often as something happens."""

import dagster as dg
from dagster._daemon import asset_daemon, controller, sensor

from flops_fit_assets.pages import quick_daemon
from flops_fit_assets.pages.quick_daemon import BUSY_SECONDS, CALM_SECONDS, Pace


def test_it_looks_more_often_for_a_while_after_an_event(monkeypatch):
    now = 1000.0
    monkeypatch.setattr(quick_daemon.time, "monotonic", lambda: now)
    with dg.DagsterInstance.ephemeral() as instance:
        pace = Pace(instance.event_log_storage.get_maximum_record_id)
        assert pace - 0.0 == CALM_SECONDS  # nothing was ever stored
        assert pace - 0.25 == CALM_SECONDS - 0.25
        instance.report_runless_asset_event(dg.AssetMaterialization("thing"))
        assert pace - 0.25 == BUSY_SECONDS - 0.25
        now += 29
        assert pace - 0.0 == BUSY_SECONDS
        now += 2
        assert pace - 0.0 == CALM_SECONDS
    assert 0 < BUSY_SECONDS < CALM_SECONDS


def test_a_history_that_cannot_be_asked_leaves_it_calm():
    def locked():
        raise OSError("database is locked")

    assert Pace(locked) - 1.0 == CALM_SECONDS - 1.0


def test_what_it_sets_is_what_dagster_has():
    """Numbers, which are subtracted from; a name that is gone would leave the daemon as slow as it was."""
    assert (sensor.MIN_INTERVAL_LOOP_TIME, asset_daemon.MIN_INTERVAL_LOOP_SECONDS) == (5, 5)
    assert controller.DEFAULT_DAEMON_INTERVAL_SECONDS == 30
