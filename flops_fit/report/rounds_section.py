"""The rounds of an adaptive study in the report."""

from __future__ import annotations

import html

from flops_fit.adaptive.progress import CHOICE_HEADERS, ROUND_HEADERS, Progress
from flops_fit.basics.formatting import format_flops
from flops_fit.report.figure_block import figure_block
from flops_fit.report.report_style import details, html_table


def rounds_section(rounds: Progress) -> str:
    """What comes next or why it stopped, the figure, what each round taught, and why each experiment was chosen."""
    from flops_fit.adaptive.figures import rounds_figure
    from flops_fit.scaling_law.figures.plots import figure_png

    target = format_flops(float(rounds.options.target_budget))
    state = html.escape(rounds.state())
    intro = f"<p>Target: {target} FLOPs. Spent: {rounds.spent.text(rounds.options)}.</p>"
    figure = figure_block("rounds", {"rounds": figure_png(rounds_figure(rounds))}) if rounds.rounds else ""
    table = html_table(ROUND_HEADERS, [tuple(map(html.escape, row)) for row in rounds.rows()])
    choices = html_table(CHOICE_HEADERS, [tuple(map(html.escape, row)) for row in rounds.choice_rows()], text=(5, 6))
    why = details("Why each experiment was chosen", choices)
    return f"{intro}<p>{state[0].upper()}{state[1:]}.</p>{figure}{table}{why}"
