"""What a law is asked for, in the report: predictions, other sizes, other held-out sets."""

from __future__ import annotations

import html
from collections.abc import Sequence

from flops_fit.basics.formatting import format_count, format_flops, format_loss
from flops_fit.report.report_style import NOT_SHOWN, escaped, html_table
from flops_fit.scaling_law.by_set import SET_HEADERS, SET_OPTION, set_rows
from flops_fit.scaling_law.checks.verdict import too_far
from flops_fit.scaling_law.law import ScalingLaw
from flops_fit.scaling_law.prediction_table import PREDICTION_HEADERS, budgets_to_show, prediction_rows


def predictions(law: ScalingLaw, target_budgets: Sequence[float]) -> str:
    """The optimum at the runs' budgets, beyond them, and at the targets."""
    rows = prediction_rows(law, budgets_to_show(law.default_budgets(), target_budgets))
    far = "".join(f"<p>{html.escape(warning)}</p>" for warning in too_far(law.runs, target_budgets))
    return html_table(PREDICTION_HEADERS, rows) + far


def other_sizes(law: ScalingLaw) -> str:
    """What models of another size than the optimal one cost at ten times the largest budget."""
    if law.verdict == "not supported":
        return NOT_SHOWN
    compute = law.default_budgets()[-2]
    rows = []
    for factor in (1 / 4, 1 / 2, 1.0, 2.0, 4.0):
        cost = law.cost_of_size(compute, factor * law.N_opt(compute))
        match = cost.compute_to_match / compute
        rows.append(
            (
                f"{factor:g} × optimal",
                format_count(cost.N),
                format_count(cost.D),
                format_loss(cost.loss),
                f"{cost.excess_loss:+.4f}",
                f"{1 - cost.equivalent_compute / compute:.0%}",
                f"{match - 1:+.0%}" if match < 1e3 else "out of reach",
            )
        )
    headers = ("Size", "Parameters", "Tokens", "Loss", "Above the best", "Compute wasted", "Compute to catch up")
    return f"<p>At {format_flops(compute)} FLOPs.</p>" + html_table(headers, rows)


def held_out_sets(law: ScalingLaw) -> str:
    """What a law of each held-out set's losses asks for."""
    own = html.escape(str(law.options.get(SET_OPTION)))
    intro = f"<p>The law on this page is that of the loss on {own}. What a law of each set's losses asks for:</p>"
    return intro + html_table(SET_HEADERS, escaped(set_rows(law)))
