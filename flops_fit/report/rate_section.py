"""The checks of the learning rate in the report."""

from __future__ import annotations

from flops_fit.rate_check.rate_check import RateCheck
from flops_fit.rate_check.shown import HEADERS, check_rows
from flops_fit.report.report_style import escaped, html_table


def rate_section(check: RateCheck) -> str:
    """What was trained, and for each budget the losses, where the best rate lies, and what the used one costs."""
    intro = (
        "<p>The centre size at half and at double its learning rate, beside the experiment of the grid; the law is not "
        "fitted to these. Where the best rate lies and what the used one costs follow from a parabola in the logarithm "
        "of the rate, with the noise of a training allowed for.</p>"
    )
    return intro + html_table(HEADERS, escaped(check_rows(check)))
