"""Predictions of metrics as cells of a table, from what a law keeps of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from flops_fit.basics.formatting import format_flops, format_loss

if TYPE_CHECKING:
    from flops_fit.scaling_law.fitted import FittedLaw

METRIC_HEADERS = ("Metric", "Compute (FLOPs)", "Loss", "Predicted", "90 %")
METRICS_OPTION = "metrics"  # of a law: what the study's metrics are predicted to be, as `MetricLaw.rows`


def metric_cells(row: Mapping[str, Any]) -> tuple[str, ...]:
    """A row of `MetricLaw.rows` as cells under `METRIC_HEADERS`."""
    if "why" in row:
        return (str(row["metric"]), str(row["why"]), "–", "–", "–")
    low, high = row["interval"]
    doubtful = " (doubtful)" if row["doubts"] else ""
    predicted = f"{row['predicted']:.4g}{doubtful}"
    return (str(row["metric"]), format_flops(row["compute"]), format_loss(row["loss"]), predicted,
            f"{low:.4g} to {high:.4g}")  # fmt: skip


def metric_rows(law: FittedLaw) -> list[tuple[str, ...]]:
    """The predictions of the study's metrics as cells under `METRIC_HEADERS`; none for one without metrics."""
    return [metric_cells(row) for row in law.options.get(METRICS_OPTION, ())]


def metric_doubts(law: FittedLaw) -> list[str]:
    """What speaks against them, each once."""
    return list(dict.fromkeys(said for row in law.options.get(METRICS_OPTION, ()) for said in row.get("doubts", ())))
