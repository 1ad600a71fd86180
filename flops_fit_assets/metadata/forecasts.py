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


def study_calibration(store: StudyStore, law: ScalingLaw) -> Calibration:
    """The study's forecasts, scored by the runs of its present law."""
    from flops_fit.scaling_law.forecasts.folder import score_forecasts

    store.pull_forecasts()
    return score_forecasts(store.forecasts, law.runs)


def forecast_metadata(calibration: Calibration) -> Metadata:
    """The table of forecasts with the record, and its counts as numbers; nothing where there are none."""
    from flops_fit.scaling_law.forecasts.calibration import HEADERS

    if not calibration:
        return {}
    table = markdown_table(HEADERS, calibration.rows()) if calibration.scores else ""
    record = "\n".join(f"- {line}" for line in calibration.record())
    return {
        "forecasts": MetadataValue.md("\n\n".join(filter(None, [table, record]))),
        "forecast targets scored": sum(score.scored for score in calibration.scores),
        "forecast targets waiting": sum(not score.scored for score in calibration.scores),
    }
