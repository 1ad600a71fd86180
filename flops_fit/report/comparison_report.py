"""One self-contained HTML report of laws that were compared: the answer, figure, table, and what was compared."""

from __future__ import annotations

import html
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from flops_fit.basics.files import write_text
from flops_fit.basics.formatting import format_flops
from flops_fit.report.figure_block import PointTexts, figure_block, point_texts
from flops_fit.report.making_section import versions
from flops_fit.report.page import document
from flops_fit.report.report_style import definitions, details, escaped, html_table, json_block

if TYPE_CHECKING:
    from flops_fit.drawing.drawn import Drawn, NotDrawn
    from flops_fit.scaling_law.comparison.comparison import Comparison
    from flops_fit.scaling_law.comparison.ranking import Ranking
    from flops_fit.scaling_law.fitted import FittedLaw

HOW = (
    "Probabilities are shares of the laws' draws, sampling error and the misfit of their forms included; laws are told "
    "apart from 97.5 % on. A multiple of compute is what a law needs to reach the loss of the other, or of the best."
)


def write_comparison_report(
    found: Comparison | Ranking,
    path: str | os.PathLike[str],
    *,
    title: str | None = None,
    figure: Drawn | NotDrawn | None = None,
    commands: Mapping[str, str] | None = None,
) -> Path:
    """Write what `compare_laws` or `rank_laws` found to `path` and return it; the file needs nothing beside it.

    `figure` is `flops_fit.scaling_law.figures.of_comparison.figure_of(found)`, where that is there already; `commands`
    are as of `Comparison.summary`.
    """
    return write_text(path, comparison_html(found, title or " and ".join(found.names), figure, commands))


def comparison_html(
    found: Comparison | Ranking,
    title: str,
    figure: Drawn | NotDrawn | None = None,
    commands: Mapping[str, str] | None = None,
) -> str:
    """The report as one HTML document; arguments as of `write_comparison_report`."""
    from flops_fit.scaling_law.figures.of_comparison import figure_of

    summary, texts = found.summary(commands), PointTexts()
    parts = [
        f"<h1>{html.escape(title)}: laws compared</h1>",
        f'<p class="lead">{len(found.names)} laws, at {_targets(found)} FLOPs</p>',
        *_answers(found, summary),
        figure_block(figure or figure_of(found), texts),
        "<h2>At each target</h2>",
        html_table(escaped([found.headers])[0], escaped(found.rows), text=(1,)),
        "<h2>What was compared</h2>",
        html_table(
            ("Law", "Runs", "Budgets (FLOPs)", "N_opt ~ C^", "E", "Verdict"),
            [_law_row(name, law) for name, law in found.laws_by_name.items()],
        ),
        "<h2>How this was made</h2>",
        f"<p>{html.escape(HOW)}</p>",
        definitions({"Versions": ", ".join(f"{name} {version}" for name, version in versions().items())}),
        details("Summary as text", f"<pre>{html.escape(summary)}</pre>"),
        details("All numbers", json_block(found.to_dict())),
        point_texts(texts),
    ]
    return document(f"{title}: laws compared", "\n".join(parts))


def _answers(found: Comparison | Ranking, summary: str) -> list[str]:
    """The sentence of each target in a box, then what else is said."""
    told_apart = [at.told_apart for at in found.targets]
    boxes = [
        f'<div class="verdict {"ok" if sure else "warn"}">{html.escape(said)}.</div>'
        for sure, said in zip(told_apart, found.sentences, strict=True)
    ]
    others = [line.strip().removeprefix("-> ") for line in summary.splitlines() if line not in found.sentences]
    return [*boxes, f"<ul>{''.join(f'<li>{html.escape(line)}</li>' for line in others)}</ul>" if others else ""]


def _law_row(name: str, law: FittedLaw) -> tuple[str, ...]:
    budgets = f"{format_flops(law.runs.flops.min())} to {format_flops(law.runs.flops.max())}"
    return (html.escape(name), str(len(law.runs)), budgets, f"{law.a:.3f}", f"{law.E:.4g}", law.verdict)


def _targets(found: Comparison | Ranking) -> str:
    return " and ".join(format_flops(at.compute) for at in found.targets)
