"""What was measured besides the loss that the law is fitted to, in the report."""

from __future__ import annotations

import html
from collections.abc import Mapping

from flops_fit.report.report_style import escaped, html_table
from flops_fit.scaling_law.fitted import FittedLaw
from flops_fit.scaling_law.from_loss.shown import METRIC_HEADERS, metric_doubts, metric_rows


def measured_table(measured: Mapping[str, Mapping[str, float]]) -> str:
    """One row for each experiment, one column for each loss or metric; dashes where it has none."""
    columns = list(dict.fromkeys(name for values in measured.values() for name in values))
    rows = [
        (html.escape(name), *(f"{values[column]:.5g}" if column in values else "–" for column in columns))
        for name, values in measured.items()
    ]
    return html_table(("Experiment", *map(html.escape, columns)), rows)


def metrics_section(law: FittedLaw) -> str:
    """What the study's metrics are predicted to be, and what speaks against it."""
    intro = (
        "<p>Of the compute-optimal model: the law gives the loss, and a sigmoid of the loss, fitted to the runs, the "
        "metric. The interval is that of a model trained there.</p>"
    )
    doubts = "".join(f"<li>{html.escape(said)}</li>" for said in metric_doubts(law))
    return intro + html_table(METRIC_HEADERS, escaped(metric_rows(law))) + (f"<ul>{doubts}</ul>" if doubts else "")
