"""What the report begins with: the law in a line, and how far to trust it."""

from __future__ import annotations

import html
from collections.abc import Sequence

from flops_fit.basics.formatting import format_count, format_flops
from flops_fit.report.report_style import html_table
from flops_fit.scaling_law.law import ScalingLaw
from flops_fit.scaling_law.next_experiments.in_words import next_in_words
from flops_fit.scaling_law.prediction_table import VERDICT_HEADERS, judged_budgets, verdict_rows

VERDICTS = {
    "trustworthy": (
        "ok",
        "At ten times the compute of its runs N_opt is within a factor 1.5 and the loss within 2 % at 90 %.",
    ),
    "provisional": ("warn", "Usable with care: read the findings first."),
    "not supported": ("bad", "The runs do not support a law: the numbers below are shown, not to be used."),
}


def head(law: ScalingLaw, name: str) -> str:
    """The title, what the law was fitted to, and the law."""
    runs = law.runs
    lead = (
        f"{len(runs)} runs in {len(law.isoflops)} compute budgets, {format_flops(runs.flops.min())} to "
        f"{format_flops(runs.flops.max())} FLOPs; {format_count(runs.num_params.min())} to "
        f"{format_count(runs.num_params.max())} parameters."
    )
    if not law.determined:
        return f'<h1>{html.escape(name)}</h1><p class="lead">{lead}</p>'
    formula = (
        f"L(N, D) = {law.E:.4g} + {law.A:.4g} / N<sup>{law.alpha:.4f}</sup> + {law.B:.4g} / D<sup>{law.beta:.4f}</sup>"
        f" &nbsp;&nbsp; N<sub>opt</sub> ∝ C<sup>{law.a:.3f}</sup>"
    )
    law_there = f'<h1>{html.escape(name)}</h1><p class="lead">{lead}</p><div class="law">{formula}</div>'
    if law.form == "chinchilla":
        return law_there
    answering = html.escape(law.prediction.description)
    return f"{law_there}<p class='lead'>The answers below are not this formula's. Prediction: {answering}.</p>"


def verdict_box(law: ScalingLaw, targets: Sequence[float] = ()) -> str:
    """The verdict, overall, at the largest budgets and at `targets` (FLOPs), what would help most, and the findings."""
    kind, meaning = VERDICTS[law.verdict]
    box = f'<div class="verdict {kind}"><b>{law.verdict.capitalize()}.</b> {meaning}</div>'
    if judged := verdict_rows(law, judged_budgets(law, targets)):
        box += html_table(VERDICT_HEADERS, judged, text=(2, 4))
    if following := next_in_words(law):
        box += f"<p>What would help most: {html.escape(following)}.</p>"
    rows = [
        (f'<span class="tag {f.severity}">{f.severity}</span>', html.escape(f.message), html.escape(f.remedy))
        for f in law.diagnostics
    ]
    return box + (html_table(("", "Finding", "What to do"), rows, text=(1, 2)) if rows else "")
