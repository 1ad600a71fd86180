"""Planning again at fixed times; off until switched on in Dagster's pages."""

from __future__ import annotations

import dagster as dg

from flops_fit_assets.source import StudySource


def replan_schedule(source: StudySource) -> dg.ScheduleDefinition:
    """Materializes `sweep_plan` of the study at the cron line of its `[schedule]` section."""
    name = source.study.name
    job = dg.define_asset_job(
        f"replan_{name}",
        selection=dg.AssetSelection.assets(source.key("sweep_plan")),
        description=f"Plan the sweep of {name} again from its study file; trains nothing by itself.",
    )
    return dg.ScheduleDefinition(
        name=f"replan_{name}_schedule",
        job=job,
        cron_schedule=source.study.schedule.cron,
        default_status=dg.DefaultScheduleStatus.STOPPED,
        description=f"Plans the sweep of {name} again; off until switched on.",
    )
