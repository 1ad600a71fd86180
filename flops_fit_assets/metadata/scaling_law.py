"""What the law shows of itself in Dagster: exponent, predictions with intervals, figures, findings, what it cost."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from dagster import MetadataValue, TableColumn, TableSchema

from flops_fit.basics.formatting import format_flops, markdown_table
from flops_fit.drawing.drawn import Drawn, NotDrawn
from flops_fit.rate_check.shown import HEADERS as CHECK_HEADERS
from flops_fit.rate_check.shown import check_rows
from flops_fit.results.results import ExperimentResult
from flops_fit.scaling_law.by_set import SET_HEADERS, set_rows
from flops_fit.scaling_law.from_loss.shown import METRIC_HEADERS, metric_doubts, metric_rows
from flops_fit.stages import study_rate_check
from flops_fit_assets.metadata.forecasts import forecast_metadata
from flops_fit_assets.metadata.shared import Metadata, figure_markdown, finite, inline_table
from flops_fit_assets.storage.store import StudyStore

if TYPE_CHECKING:
    from flops_fit.scaling_law import ScalingLaw
    from flops_fit.scaling_law.forecasts.calibration import Calibration
    from flops_fit.study.study import Study
    from flops_fit.sweep.sweep_plan import SweepPlan

NOT_SHOWN = ("exponents", "contours")  # of the figures, which the report has and plots/


def law_metadata(
    law: ScalingLaw,
    study: Study,
    plan: SweepPlan,
    results: Mapping[str, ExperimentResult],
    store: StudyStore,
    figures: Mapping[str, Drawn | NotDrawn],
    forecasts: Calibration,
) -> Metadata:
    """The law's numbers, its predictions and figures, how forecasts came out, and which experiments it lacks."""
    hours = sum(result.own_seconds for result in results.values()) / 3600
    missing = [item for item in plan.experiments if item.experiment_id not in results]
    shown: dict[str, Any] = {
        "law": MetadataValue.md(law_text(law)),
        "predictions": MetadataValue.md(prediction_table(law, plan.target_budgets)),
        **{figure.title: figure_markdown(figure) for name, figure in figures.items() if name not in NOT_SHOWN},
        "verdict": law.verdict,
        **forecast_metadata(forecasts),
        "exponent a": round(law.a, 4),
        "exponent b": round(law.b, 4),
        "exponent alpha": round(law.alpha, 4),
        "exponent beta": round(law.beta, 4),
        "irreducible loss E": round(law.E, 4),
        **predicted_numbers(law, plan.target_budgets),
        "runs used": len(law.runs),
        "experiments missing": len(missing),
        "FLOPs spent": float(sum(result.flops for result in results.values())),
        "device-hours spent": hours,
        **({"cost so far": hours * price} if (price := study.hardware.price_per_hour) else {}),
        "report": MetadataValue.path(str(store.report)),
        "file": MetadataValue.path(str(store.path("scaling_law"))),
        "columns of runs.csv": MetadataValue.table_schema(runs_schema()),
    }
    if checked := study_rate_check(study, plan, results.values(), law):
        shown["checks of the learning rate"] = inline_table(CHECK_HEADERS, check_rows(checked))
    if by_set := set_rows(law):
        shown["held-out sets"] = MetadataValue.md(markdown_table(SET_HEADERS, by_set))
    if metrics := metric_rows(law):
        shown["metrics"] = MetadataValue.md("\n\n".join([markdown_table(METRIC_HEADERS, metrics), *metric_doubts(law)]))
    if missing:
        shown["missing"] = MetadataValue.md("\n".join(f"- `{item.experiment_id}`" for item in missing[:40]))
    if law.diagnostics:
        shown["findings"] = MetadataValue.md(findings_table(law))
    return finite(shown)


def predicted_numbers(law: ScalingLaw, targets: Sequence[float]) -> Metadata:
    """The optimum at each target as numbers of their own, which Dagster plots from fit to fit."""
    shown: Metadata = {}
    for compute in targets:
        at = law.predict(compute)
        for what in ("optimal_params", "optimal_tokens", "expected_loss"):
            shown[f"{what.replace('_', ' ')} at {format_flops(compute)}"] = float(at[what])
    return shown


def runs_schema() -> TableSchema:
    """The columns of `runs.csv`."""
    columns = []
    for item in dataclasses.fields(ExperimentResult):
        kind, _, other = str(item.type).partition(" | ")
        if not kind.startswith("Mapping"):
            columns.append(
                TableColumn(item.name, "string" if kind == "str" else kind, description=other and "may be empty")
            )
    return TableSchema(columns=columns)


def law_text(law: ScalingLaw) -> str:
    """The fitted law as one line, with the interval of its exponent."""
    low, high = law.interval("a")
    return (
        f"`L(N, D) = {law.E:.4g} + {law.A:.4g}/N^{law.alpha:.3f} + {law.B:.4g}/D^{law.beta:.3f}`, "
        f"N_opt ~ C^{law.a:.3f} (90 % interval {low:.3f} to {high:.3f}): **{law.verdict}**"
    )


def prediction_table(law: ScalingLaw, targets: Sequence[float] = ()) -> str:
    """The compute optimum at the runs' budgets, 10 and 100 times the largest, and at `targets`, with 90 % intervals.

    Below it, which of `targets` are too far from the runs.
    """
    from flops_fit.scaling_law.checks.verdict import too_far
    from flops_fit.scaling_law.prediction_table import PREDICTION_HEADERS, budgets_to_show, prediction_rows

    table = markdown_table(PREDICTION_HEADERS, prediction_rows(law, budgets_to_show(law.default_budgets(), targets)))
    return "\n\n".join([table, *too_far(law.runs, targets)])


def findings_table(law: ScalingLaw) -> str:
    """What would make the answer untrustworthy, gravest first."""
    rows = [(item.severity, item.message, item.remedy) for item in law.diagnostics]
    return markdown_table(("severity", "finding", "remedy"), rows)
