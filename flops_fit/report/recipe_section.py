"""The tuned recipe in the report."""

from __future__ import annotations

import html
from typing import TYPE_CHECKING, Any

from flops_fit.basics.formatting import format_count, format_flops
from flops_fit.drawing.drawn import Drawn, NotDrawn, drawn
from flops_fit.recipe.tuning import Cell
from flops_fit.recipe_law.shown import (
    OPTIMUM_HEADERS,
    RULE_HEADERS,
    TRIAL_HEADERS,
    optimum_rows,
    rule_rows,
    trial_rows,
)
from flops_fit.report.figure_block import PointTexts, figure_block
from flops_fit.report.report_style import details, escaped, html_table

if TYPE_CHECKING:
    from flops_fit.recipe_law.tuned_recipe import TunedRecipe


def recipe_section(found: TunedRecipe, texts: PointTexts, plan: Any = None) -> str:
    """The rule, what it cost, the curves, its values at the middle size of each budget of `plan`, and every trial."""
    said = [f"{item.message[0].upper()}{item.message[1:]}; {item.remedy}." for item in found.law.findings]
    spent = (
        f"<p>Found by {len(found.trials)} trials, {found.law.diverged} of which diverged: {format_flops(found.flops)} "
        f"FLOPs, {found.share:.1%} of the study it was made for.</p>"
    )
    places = _middles(plan) if plan is not None else sorted({trial.cell for trial in found.trials})
    return "".join(
        [
            spent,
            html_table(RULE_HEADERS, escaped(rule_rows(found.law)), text=(0, 1)),
            *(f"<p>{html.escape(sentence)}</p>" for sentence in said),
            figure_block(_figure(found), texts),
            html_table(OPTIMUM_HEADERS, escaped(optimum_rows(found, places)), text=(2,)),
            details("Trials one by one", html_table(TRIAL_HEADERS, escaped(trial_rows(found)), text=(2,))),
        ]
    )


def _middles(plan: Any) -> list[Cell]:
    found = []
    for experiments in plan.by_budget().values():
        ordered = sorted(experiments, key=lambda item: item.num_params)
        found += [(float(item.num_params), float(item.num_tokens)) for item in ordered[len(ordered) // 2 :][:1]]
    return found


def _figure(found: TunedRecipe) -> Drawn | NotDrawn:
    from flops_fit.recipe_law.figures import recipe_figure

    caption = (
        "The trials of the recipe by size and tokens; one lies above its curve by what its other numbers cost. "
        "Dotted: the value that the rule uses; crosses: diverged."
    )
    return drawn(
        "recipe", "trials of the recipe", lambda: recipe_figure(found), lambda: _in_words(found), lambda: caption
    )


def _in_words(found: TunedRecipe) -> str:
    cells = sorted({trial.cell for trial in found.trials})
    at = [
        f"for N = {format_count(N)}, D = {format_count(D)} the rule gives "
        + " and ".join(f"{name} {found.law.value(name, N, D):.3g}" for name in found.law.names)
        for N, D in (cells[0], cells[-1])
    ]
    return f"Loss against {', '.join(found.law.names)} of {len(found.trials)} trials; {'; '.join(at)}."
