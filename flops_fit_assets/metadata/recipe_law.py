"""What the recipe law shows of itself in Dagster: the rule, its intervals, what it cost, and what it may lose."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dagster import MetadataValue

from flops_fit.basics.formatting import format_flops, markdown_table
from flops_fit.recipe_law.shown import (
    OPTIMUM_HEADERS,
    RULE_HEADERS,
    TRIAL_HEADERS,
    optimum_rows,
    rule_rows,
    trial_rows,
)
from flops_fit_assets.metadata.shared import Figure, Metadata, figure_markdown, finite, inline_table, rounded

if TYPE_CHECKING:
    from flops_fit.recipe_law.design import TuningDesign
    from flops_fit.recipe_law.tuned_recipe import TunedRecipe


def recipe_law_metadata(found: TunedRecipe, design: TuningDesign, file: Any) -> Metadata:
    """The rule with its exponents, values and intervals where it is used, curves, trials, cost and findings."""
    shown: Metadata = {
        "rule": inline_table(RULE_HEADERS, rule_rows(found.law)),
        "curves": figure_markdown(curves_image(found)),
        "values where it is used": inline_table(OPTIMUM_HEADERS, optimum_rows(found, design.targets)),
        "loss expected to be lost at the largest": found.excess_text,
        "trials": len(found.trials),
        "trials that diverged": int(found.law.diverged),
        "FLOPs of trials": rounded(float(found.flops)),
        "share of the study": f"{found.share:.1%} of {format_flops(found.study_flops)} FLOPs",
        "trials one by one": inline_table(TRIAL_HEADERS, trial_rows(found)),
        "file": file,
    }
    if found.left_out:
        lines = [f"- `{name}`: {reason}" for name, reason in found.left_out.items()]
        shown["left out"] = MetadataValue.md("\n".join(lines))
    if found.law.findings:
        rows = [(item.severity, item.message, item.remedy) for item in found.law.findings]
        shown["findings"] = MetadataValue.md(markdown_table(("severity", "finding", "remedy"), rows))
    return finite(shown)


def curves_image(found: TunedRecipe) -> Figure:
    """Loss against each tuned number, a curve for each size and number of tokens."""
    from flops_fit.drawing.render import figure_png
    from flops_fit.recipe_law.figures import recipe_figure

    return Figure(title="trials of the recipe", png=figure_png(recipe_figure(found)))
