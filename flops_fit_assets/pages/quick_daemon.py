"""Dagster's daemon, which looks more often: between an edit and the new law it waits for its next look four times.

    python -m flops_fit_assets.pages.quick_daemon run <options of `dagster-daemon run`>

How often it looks at sensors and at what is to be backfilled is fixed in Dagster (1.13), and set here. Should a later
Dagster keep it elsewhere, it looks as often as that one does.
"""

from __future__ import annotations

from dagster import DagsterInstance

from flops_fit.processes import forks
from flops_fit_assets.instance.sqlite import lighten
from flops_fit_assets.warm_runs.forked_from import base
from flops_fit_assets.warm_runs.launcher import WarmRunLauncher

SENSORS_SECONDS = 2.0  # 5 in Dagster
BACKFILLS_SECONDS = 5.0  # 30 in Dagster


def main() -> None:
    """`dagster-daemon`, with the process that runs are forked from loading beside it."""
    from dagster._daemon import asset_daemon, controller, sensor

    for module, name, seconds in (
        (sensor, "MIN_INTERVAL_LOOP_TIME", SENSORS_SECONDS),
        (asset_daemon, "MIN_INTERVAL_LOOP_SECONDS", SENSORS_SECONDS),
        (controller, "DEFAULT_DAEMON_INTERVAL_SECONDS", BACKFILLS_SECONDS),
    ):
        if hasattr(module, name):
            setattr(module, name, seconds)
    lighten()
    with DagsterInstance.get() as instance:
        if forks.POSSIBLE and isinstance(instance.run_launcher, WarmRunLauncher):
            base()
    from dagster._daemon.cli import main as daemon

    daemon()


if __name__ == "__main__":
    main()
