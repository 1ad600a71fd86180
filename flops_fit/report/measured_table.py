"""What was measured of each experiment besides the loss that the law is fitted to, in the report."""

from __future__ import annotations

import html
from collections.abc import Mapping

from flops_fit.report.report_style import html_table


def measured_table(measured: Mapping[str, Mapping[str, float]]) -> str:
    """One row for each experiment, one column for each loss or metric; dashes where it has none."""
    columns = list(dict.fromkeys(name for values in measured.values() for name in values))
    rows = [
        (html.escape(name), *(f"{values[column]:.5g}" if column in values else "–" for column in columns))
        for name, values in measured.items()
    ]
    return html_table(("Experiment", *map(html.escape, columns)), rows)
