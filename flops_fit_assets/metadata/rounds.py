"""What `sweep_plan` and `scaling_law` show of an adaptive study's rounds."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dagster import MetadataValue

from flops_fit.adaptive.progress import CHOICE_HEADERS, ROUND_HEADERS
from flops_fit.basics.formatting import format_flops
from flops_fit_assets.metadata.shared import Figure, Metadata, figure_markdown, inline_table
from flops_fit_assets.storage.store import StudyStore

if TYPE_CHECKING:
    from flops_fit.adaptive.progress import Progress


def rounds_metadata(progress: Progress | None, store: StudyStore) -> Metadata:
    """What comes next or why it stopped, the rounds, why each experiment was chosen; nothing of a study with a grid."""
    if progress is None:
        return {}
    new = progress.step.planned
    shown: Metadata = {
        "rounds": MetadataValue.md(progress.state()),
        "round": len(progress.rounds) + (new is not None),
        "spent of the total": progress.spent.text(progress.options),
        "target": f"{format_flops(float(progress.options.target_budget))} FLOPs",
    }
    if new is not None:
        shown["experiments of the new round"] = inline_table(CHOICE_HEADERS, progress.choice_rows([new]))
    if progress.rounds:
        shown["rounds so far"] = inline_table(ROUND_HEADERS, progress.rows())
        shown["why each was chosen"] = inline_table(CHOICE_HEADERS, progress.choice_rows())
        shown["rounds figure"] = figure_markdown(rounds_image(progress))
    shown["rounds folder"] = MetadataValue.path(str(store.directory / "rounds"))
    return shown


def rounds_image(progress: Progress) -> Figure:
    """The rounds in the N-D plane, and what each taught."""
    from flops_fit.adaptive.figures import rounds_figure
    from flops_fit.drawing.render import figure_png

    return Figure(title="rounds", png=figure_png(rounds_figure(progress)))
