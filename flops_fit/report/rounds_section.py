"""The rounds of an adaptive study in the report."""

from __future__ import annotations

import html

from flops_fit.adaptive.progress import CHOICE_HEADERS, ROUND_HEADERS, Progress
from flops_fit.basics.formatting import format_count, format_flops, format_loss
from flops_fit.drawing.drawn import Drawn, NotDrawn, drawn
from flops_fit.report.figure_block import PointTexts, figure_block
from flops_fit.report.report_style import details, escaped, html_table


def rounds_section(rounds: Progress, texts: PointTexts) -> str:
    """What comes next or why it stopped, the figure, what each round taught, and why each experiment was chosen."""
    target = format_flops(float(rounds.options.target_budget))
    state = html.escape(rounds.state())
    intro = f"<p>Target: {target} FLOPs. Spent: {rounds.spent.text(rounds.options)}.</p>"
    figure = figure_block(_figure(rounds), texts) if rounds.rounds else ""
    table = html_table(ROUND_HEADERS, escaped(rounds.rows()))
    choices = html_table(CHOICE_HEADERS, escaped(rounds.choice_rows()), text=(5, 6))
    why = details("Why each experiment was chosen", choices)
    return f"{intro}<p>{state[0].upper()}{state[1:]}.</p>{figure}{table}{why}"


def _figure(rounds: Progress) -> Drawn | NotDrawn:
    from flops_fit.adaptive.figures import rounds_figure

    caption = (
        "Left: what was trained, by round. Right: what the law said at the target after each round, with its 90 % "
        "interval; dotted, how narrow that has to become."
    )
    return drawn("rounds", "rounds", lambda: rounds_figure(rounds), lambda: _in_words(rounds), lambda: caption)


def _in_words(rounds: Progress) -> str:
    trained = sum(len(item.experiments) for item in rounds.rounds)
    answers = [
        f"N_opt = {format_count(answer.N_opt)} ({format_count(answer.N_opt_low)} to {format_count(answer.N_opt_high)}),"
        f" loss {format_loss(answer.loss)} ({format_loss(answer.loss_low)} to {format_loss(answer.loss_high)})"
        for answer in rounds.answers
        if answer is not None
    ]
    said = f"the last answer at the target: {answers[-1]}" if answers else "no law yet"
    return f"{trained} experiments of {len(rounds.rounds)} rounds by parameters and tokens; {said}."
