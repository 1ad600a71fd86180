"""A study's forecasts as its law shows them: what was said of budgets before they were trained, and how it came out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dagster import MetadataValue

from flops_fit.basics.formatting import markdown_table
from flops_fit_assets.metadata.shared import Metadata
from flops_fit_assets.storage.store import StudyStore

if TYPE_CHECKING:
    from flops_fit.scaling_law import ScalingLaw
    from flops_fit.scaling_law.forecasts.calibration import Calibration


_ON_THE_PAGE = ("Compute", "Of", "Interval", "Found", "Inside")  # the report has all columns


def study_calibration(store: StudyStore, law: ScalingLaw) -> Calibration:
    """The study's forecasts, scored by the runs of its present law."""
    from flops_fit.scaling_law.forecasts.folder import score_forecasts

    store.pull_folder(store.forecasts)
    return score_forecasts(store.forecasts, law.runs)


def forecast_metadata(calibration: Calibration) -> Metadata:
    """The record, the table as far as Dagster's page is wide, and counts as numbers; nothing where there are none."""
    from flops_fit.scaling_law.forecasts.calibration import HEADERS

    if not calibration:
        return {}
    shown = [at for at, header in enumerate(HEADERS) if header in _ON_THE_PAGE]
    table = markdown_table(_ON_THE_PAGE, [[row[at] for at in shown] for row in calibration.rows()])
    return {
        "forecasts": MetadataValue.md("\n".join(f"- {line}" for line in calibration.record())),
        **({"forecast table": MetadataValue.md(table)} if calibration.scores else {}),
        "forecast targets scored": sum(score.scored for score in calibration.scores),
        "forecast targets waiting": sum(not score.scored for score in calibration.scores),
    }
