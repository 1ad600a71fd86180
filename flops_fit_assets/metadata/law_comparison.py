"""What a comparison of laws shows of itself in Dagster, and the files that a person looks at."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dagster import MetadataValue

from flops_fit.basics.files import write_bytes, write_value
from flops_fit.basics.formatting import format_flops, markdown_table
from flops_fit.drawing.drawn import Drawn, NotDrawn
from flops_fit_assets.compared import COMPARISON_SCHEMA, ComparedStudies
from flops_fit_assets.metadata.shared import Metadata, figure_markdown, finite

if TYPE_CHECKING:
    from flops_fit.scaling_law import Ranking


def publish_comparison(compared: ComparedStudies, ranking: Ranking) -> Drawn | NotDrawn:
    """Write `law_comparison.json`, `law_comparison.html` and `plots/law_comparison.png`; the figure."""
    from flops_fit.report.comparison_report import write_comparison_report
    from flops_fit.scaling_law.figures.of_comparison import figure_of

    store, figure = compared.store, figure_of(ranking)
    for path in (compared.file, compared.report, compared.figure):
        store.room_for(path)
    written = [
        write_value(compared.file, {"schema": COMPARISON_SCHEMA} | ranking.to_dict()),
        write_comparison_report(
            ranking, compared.report, title=compared.name, figure=figure, commands=compared.suggestions
        ),
    ]
    if isinstance(figure, Drawn):
        written += [
            write_bytes(compared.figure, figure.png),
            write_bytes(compared.figure.with_suffix(".svg"), figure.svg.encode()),
        ]
    store.push(*written)
    return figure


def comparison_metadata(compared: ComparedStudies, ranking: Ranking, figure: Drawn | NotDrawn) -> Metadata:
    """The answer first, then a table for each target, the figure, and probabilities as numbers that Dagster plots."""
    shown: Metadata = {"answer": MetadataValue.md("\n\n".join(f"**{said}.**" for said in ranking.sentences))}
    each = len(ranking.names)
    for number, at in enumerate(ranking.targets):
        rows = [row[1:] for row in ranking.rows[number * each : (number + 1) * each]]
        shown[f"at {format_flops(at.compute)} FLOPs"] = MetadataValue.md(markdown_table(ranking.headers[1:], rows))
    shown[figure.title] = figure_markdown(figure)
    summary = ranking.summary(compared.suggestions).splitlines()
    if others := [line.strip() for line in summary if line not in ranking.sentences]:
        shown["what to do, and notes"] = MetadataValue.md("\n".join(f"- {line.removeprefix('-> ')}" for line in others))
    for at in ranking.targets:
        for name, chance in zip(ranking.names, at.probabilities, strict=True):
            shown[f"{name} is the best at {format_flops(at.compute)} with"] = round(chance, 4)
    shown |= {"report": MetadataValue.path(str(compared.report)), "file": MetadataValue.path(str(compared.file))}
    return finite(shown)
