"""A law as a notebook shows it: its verdict, the optimum at each budget, and the IsoFLOP curves."""

from __future__ import annotations

import html
from typing import TYPE_CHECKING

from flops_fit.basics.html_output import boxed, picture, plain_table
from flops_fit.drawing.drawn import Drawn
from flops_fit.scaling_law.figures.of_law import law_figure
from flops_fit.scaling_law.prediction_table import (
    PREDICTION_HEADERS,
    VERDICT_HEADERS,
    prediction_rows,
    verdict_rows,
)

if TYPE_CHECKING:
    from flops_fit.scaling_law.fitted import FittedLaw

MOST_FINDINGS = 6
WIDTH = 760  # pixels


def law_html(law: FittedLaw) -> str:
    """Verdict, formula, optimum table, findings, and the figure; one that cannot be drawn is left out with a note."""
    budgets = law.default_budgets()
    formula = (
        f"L(N, D) = {law.E:.4g} + {law.A:.4g}/N<sup>{law.alpha:.3f}</sup> + {law.B:.4g}/D<sup>{law.beta:.3f}</sup>, "
        f"N<sub>opt</sub> ~ C<sup>{law.a:.3f}</sup>"
    )
    if law.form != "chinchilla":
        formula += f". Answers are of {html.escape(law.prediction.description)}"
    about = f"{len(law.runs)} runs in {len(law.isoflops)} compute budgets"
    parts = [
        f"<p><b>{law.verdict.capitalize()}</b> ({about}): {formula if law.determined else 'no law'}</p>",
        plain_table(VERDICT_HEADERS, rows) if (rows := verdict_rows(law, budgets[-2:])) else "",
        plain_table(PREDICTION_HEADERS, prediction_rows(law, budgets)),
        _findings(law),
        _figure(law),
    ]
    return boxed("".join(parts))


def _findings(law: FittedLaw) -> str:
    said = [f"{item.severity}: {item.message}" for item in law.diagnostics]
    more = len(said) - MOST_FINDINGS
    said = said[:MOST_FINDINGS] + ([f"… and {more} more; print(law.summary()) has all"] if more > 0 else [])
    return f"<ul>{''.join(f'<li>{html.escape(line)}</li>' for line in said)}</ul>" if said else ""


def _figure(law: FittedLaw) -> str:
    figure = law_figure(law, "isoflop")
    if isinstance(figure, Drawn):
        return picture(figure.png, figure.alt, WIDTH)
    return f"<p>The figure could not be drawn: {html.escape(figure.reason)}.</p>"
