"""Dagster's daemon, which looks more often while something happens.

    python -m flops_fit_assets.pages.quick_daemon run <options of `dagster-daemon run`>

Between an edit and the new law the daemon's next look is waited for four times. How often it looks at sensors and at
what is to be backfilled is fixed in Dagster (1.13), and set here. Should a later Dagster keep it elsewhere, it looks as
often as that one does.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable

from dagster import DagsterInstance

from flops_fit.processes import forks
from flops_fit_assets.instance.sqlite import lighten
from flops_fit_assets.warm_runs.forked_from import base
from flops_fit_assets.warm_runs.launcher import WarmRunLauncher

CALM_SECONDS = 3.0  # Dagster's are 5, and 30 for backfills
BUSY_SECONDS = 1.0
_BUSY_FOR = 30.0  # after the last event of any run


class Pace(float):
    """Seconds between two looks, from which Dagster subtracts what the last one took: fewer while something happens.

    `latest` says how many events there have been.
    """

    _latest: Callable[[], int | None]
    _seen: int | None
    _at: float

    def __new__(cls, latest: Callable[[], int | None]) -> Pace:
        """One for each that looks."""
        pace = super().__new__(cls, CALM_SECONDS)
        pace._latest, pace._seen, pace._at = latest, None, -_BUSY_FOR
        return pace

    def __sub__(self, took: float) -> float:
        now = time.monotonic()
        with contextlib.suppress(Exception):  # a database that is busy is no reason for a daemon to end
            latest = self._latest()
            if latest != self._seen:
                self._seen, self._at = latest, now
        return (BUSY_SECONDS if now < self._at + _BUSY_FOR else CALM_SECONDS) - took


def main() -> None:
    """`dagster-daemon`, with the process that runs are forked from loading beside it."""
    from dagster._daemon import asset_daemon, controller, sensor

    lighten()
    with DagsterInstance.get() as instance:
        for module, name in (
            (sensor, "MIN_INTERVAL_LOOP_TIME"),
            (asset_daemon, "MIN_INTERVAL_LOOP_SECONDS"),
            (controller, "DEFAULT_DAEMON_INTERVAL_SECONDS"),
        ):
            if hasattr(module, name):
                setattr(module, name, Pace(instance.event_log_storage.get_maximum_record_id))
        if forks.POSSIBLE and isinstance(instance.run_launcher, WarmRunLauncher):
            base()
        from dagster._daemon.cli import main as daemon

        daemon()


if __name__ == "__main__":
    main()
