"""What the law shows of itself in Dagster: exponent, predictions with intervals, figures, findings, what it cost."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from dagster import MetadataValue, TableColumn, TableSchema

from flops_fit.basics.formatting import format_flops, markdown_table
from flops_fit.drawing.drawn import Drawn, NotDrawn
from flops_fit.rate_check.shown import HEADERS as CHECK_HEADERS
from flops_fit.rate_check.shown import check_rows
from flops_fit.results.results import ExperimentResult, results_frame
from flops_fit.scaling_law.by_set import SET_HEADERS, set_rows
from flops_fit.scaling_law.from_loss.shown import METRIC_HEADERS, metric_doubts, metric_rows
from flops_fit.study_law import study_rate_check
from flops_fit_assets.metadata.forecasts import forecast_metadata
from flops_fit_assets.metadata.shared import (
    Metadata,
    file_value,
    finite,
    inline_table,
    kept_figure,
    rounded,
    shown_figure,
)
from flops_fit_assets.storage.store import StudyStore

if TYPE_CHECKING:
    from flops_fit.scaling_law import ScalingLaw
    from flops_fit.scaling_law.forecasts.calibration import Calibration
    from flops_fit.study.study import Study
    from flops_fit.sweep.sweep_plan import SweepPlan

KEPT = ("isoflop", "frontier")  # of the figures, inside the page for ever
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
    """The verdict, the law, its predictions, figures and findings, then how forecasts came out, numbers that plot, and
    how many experiments it lacks."""
    shown: dict[str, Any] = {
        "verdict": law.verdict,
        "law": MetadataValue.md(law_text(law)),
        "report": file_value(store, store.report),
        **prediction_tables(law, plan.target_budgets),
        **{figure.title: shown_figure(store, figure) for name, figure in figures.items() if name not in NOT_SHOWN},
        **findings(law),
        **_tables(law, study, plan, results),
        **forecast_metadata(forecasts),
        **_numbers(law, study, plan, results),
        "experiments missing": sum(item.experiment_id not in results for item in plan.experiments),
        "file": file_value(store, store.path("scaling_law")),
        "columns of runs.csv": MetadataValue.table_schema(runs_schema(results.values())),
    }
    if store.served:  # those above are gone when the law is fitted again
        kept = [str(kept_figure(figures[name]).value) for name in KEPT if name in figures]
        shown["figures of this fit"] = MetadataValue.md("\n\n".join(kept))
    return finite(shown)


def _tables(law: ScalingLaw, study: Study, plan: SweepPlan, results: Mapping[str, ExperimentResult]) -> Metadata:
    """What only some studies have: checks of the learning rate, several held-out sets, metrics."""
    shown: Metadata = {}
    if checked := study_rate_check(study, plan, results.values(), law):
        shown["checks of the learning rate"] = inline_table(CHECK_HEADERS, check_rows(checked))
    if by_set := set_rows(law):
        shown["held-out sets"] = MetadataValue.md(markdown_table(SET_HEADERS, by_set))
    if metrics := metric_rows(law):
        shown["metrics"] = MetadataValue.md("\n\n".join([markdown_table(METRIC_HEADERS, metrics), *metric_doubts(law)]))
    return shown


def _numbers(law: ScalingLaw, study: Study, plan: SweepPlan, results: Mapping[str, ExperimentResult]) -> Metadata:
    """Numbers of their own, which Dagster plots from fit to fit."""
    hours = sum(result.device_seconds for result in results.values()) / 3600
    price = study.hardware.price_per_hour
    return {
        "exponent a": round(law.a, 4),
        "exponent b": round(law.b, 4),
        "exponent alpha": round(law.alpha, 4),
        "exponent beta": round(law.beta, 4),
        "irreducible loss E": round(law.E, 4),
        **predicted_numbers(law, plan.target_budgets),
        "runs used": len(law.runs),
        "FLOPs spent": rounded(float(sum(result.flops for result in results.values()))),
        "device-hours spent": rounded(hours),
        **({"cost so far": rounded(hours * price)} if price else {}),
    }


def predicted_numbers(law: ScalingLaw, targets: Sequence[float]) -> Metadata:
    """The optimum at each target as numbers of their own, which Dagster plots from fit to fit."""
    shown: Metadata = {}
    for compute in targets:
        at = law.predict(compute)
        for what in ("optimal_params", "optimal_tokens", "expected_loss"):
            shown[f"{what.replace('_', ' ')} at {format_flops(compute)}"] = rounded(float(at[what]), 6)
    return shown


def runs_schema(results: Iterable[ExperimentResult]) -> TableSchema:
    """The columns of `runs.csv` that it has of every study, and of these `results`."""
    columns, written = [], set(results_frame(results).columns)
    for item in dataclasses.fields(ExperimentResult):
        kind, _, other = str(item.type).partition(" | ")
        if item.name in written:
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


def prediction_tables(law: ScalingLaw, targets: Sequence[float] = ()) -> Metadata:
    """The compute optimum at the runs' budgets, 10 and 100 times the largest, and at `targets`, with 90 % intervals: in
    two tables, each as wide as the page of a laptop. Below the first, which of `targets` are too far from the runs."""
    from flops_fit.scaling_law.checks.verdict import too_far
    from flops_fit.scaling_law.prediction_table import PREDICTION_HEADERS, budgets_to_show, prediction_rows

    rows = [
        [cell.replace(" to ", "–") for cell in row]
        for row in prediction_rows(law, budgets_to_show(law.default_budgets(), targets))
    ]

    def table(*columns: int) -> str:
        headers = [PREDICTION_HEADERS[at].replace("Compute (FLOPs)", "FLOPs") for at in columns]
        return markdown_table(headers, [[row[at] for at in columns] for row in rows])

    sizes, losses = table(0, 1, 2, 3, 4), table(0, 5, 6)
    return {
        "predictions": MetadataValue.md("\n\n".join([sizes, *too_far(law.runs, targets)])),
        "predicted loss": MetadataValue.md(losses),
    }


def findings(law: ScalingLaw) -> Metadata:
    """What would make the answer untrustworthy, gravest first, each short enough to be shown without a click."""
    return {
        f"finding {number}": MetadataValue.md(f"**{item.severity}**: {item.message}. {item.remedy}")
        for number, item in enumerate(law.diagnostics, 1)
    }
