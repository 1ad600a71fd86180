"""What the law shows of itself in Dagster: exponent, predictions with intervals, figures, findings, what it cost."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from dagster import MetadataValue

from flops_fit.formatting import format_count, format_flops, markdown_table
from flops_fit.results import ExperimentResult
from flops_fit_assets.io import StudyStore
from flops_fit_assets.metadata import Metadata, figure_markdown
from flops_fit_assets.publish import Figure

if TYPE_CHECKING:
    from flops_fit.scaling_law import ScalingLaw
    from flops_fit.sweep import SweepPlan


def law_metadata(
    law: ScalingLaw,
    plan: SweepPlan,
    results: Mapping[str, ExperimentResult],
    store: StudyStore,
    figures: Mapping[str, Figure],
) -> Metadata:
    """The law's numbers, its predictions and figures, and which experiments it lacks."""
    missing = [item for item in plan.experiments if item.experiment_id not in results]
    shown: dict[str, Any] = {
        "law": MetadataValue.md(law_text(law)),
        "predictions": MetadataValue.md(prediction_table(law)),
        **{figure.title: figure_markdown(figure) for figure in figures.values()},
        "verdict": law.verdict,
        "exponent a": round(law.a, 4),
        "exponent b": round(law.b, 4),
        "irreducible loss E": round(law.E, 4),
        "runs used": len(law.runs),
        "experiments missing": len(missing),
        "FLOPs spent": float(sum(result.flops for result in results.values())),
        "device-seconds spent": float(sum(result.seconds for result in results.values())),
        "report": MetadataValue.path(str(store.report)),
        "file": MetadataValue.path(str(store.path("scaling_law"))),
    }
    if missing:
        shown["missing"] = MetadataValue.md("\n".join(f"- `{item.experiment_id}`" for item in missing[:40]))
    if law.diagnostics:
        shown["findings"] = MetadataValue.md(findings_table(law))
    return shown


def law_text(law: ScalingLaw) -> str:
    """The fitted law as one line, with the interval of its exponent."""
    low, high = law.interval("a")
    return (
        f"`L(N, D) = {law.E:.4g} + {law.A:.4g}/N^{law.alpha:.3f} + {law.B:.4g}/D^{law.beta:.3f}`, "
        f"N_opt ~ C^{law.a:.3f} (90 % interval {low:.3f} to {high:.3f}): **{law.verdict}**"
    )


def prediction_table(law: ScalingLaw) -> str:
    """The compute optimum at the runs' budgets, 10 and 100 times the largest, with 90 % intervals."""
    rows = []
    for compute in law.default_budgets():
        at = law.predict(compute)
        (n_low, n_high), (l_low, l_high) = at["optimal_params_interval"], at["expected_loss_interval"]
        rows.append(
            (
                format_flops(compute),
                format_count(at["optimal_params"]),
                f"{format_count(n_low)}..{format_count(n_high)}",
                format_count(at["optimal_tokens"]),
                f"{at['tokens_per_param']:.1f}",
                f"{at['expected_loss']:.3f}",
                f"{l_low:.3f}..{l_high:.3f}",
            )
        )
    return markdown_table(("compute", "N_opt", "90 %", "D_opt", "D/N", "loss", "90 %"), rows)


def findings_table(law: ScalingLaw) -> str:
    """What would make the answer untrustworthy, gravest first."""
    rows = [(item.severity, item.message, item.remedy) for item in law.diagnostics]
    return markdown_table(("severity", "finding", "remedy"), rows)
