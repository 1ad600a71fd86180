"""The files a person looks at: the runs table, the report, the figures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flops_fit.basics.files import write_bytes
from flops_fit.results.results import ExperimentResult, measured, save_runs
from flops_fit.stages import study_cost, study_rate_check
from flops_fit_assets.storage.store import StudyStore

if TYPE_CHECKING:
    from flops_fit.adaptive.progress import Progress
    from flops_fit.scaling_law import ScalingLaw
    from flops_fit.scaling_law.forecasts.calibration import Calibration
    from flops_fit.study.study import Study
    from flops_fit.sweep.sweep_plan import SweepPlan


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One figure as a PNG image."""

    title: str
    png: bytes


def law_figures(law: ScalingLaw) -> dict[str, Figure]:
    """File name → the IsoFLOP and the frontier figure."""
    from flops_fit.scaling_law.figures.plots import figure_png, frontier_figure, isoflop_figure

    return {
        "isoflop.png": Figure(title="IsoFLOP curves", png=figure_png(isoflop_figure(law))),
        "frontier.png": Figure(title="compute-optimal frontier", png=figure_png(frontier_figure(law))),
    }


def missing_files(store: StudyStore) -> list[Path]:
    """Which of the files that `publish` writes are not there."""
    return [path for path in _paths(store) if not path.is_file()]


def _paths(store: StudyStore) -> list[Path]:
    plots = store.directory / "plots"
    return [store.directory / "runs.csv", store.report, plots / "isoflop.png", plots / "frontier.png"]


def publish(
    store: StudyStore,
    study: Study,
    plan: SweepPlan,
    law: ScalingLaw,
    results: Mapping[str, ExperimentResult],
    figures: Mapping[str, Figure],
    forecasts: Calibration,
    rounds: Progress | None = None,
) -> None:
    """Write `runs.csv`, `report.html` and `plots/*.png` beside the law; `rounds` of an adaptive study."""
    from flops_fit.report.report import write_report

    for path in _paths(store):
        store.room_for(path)
    grid = {item.experiment_id for item in plan.experiments}
    table = save_runs([result for name, result in results.items() if name in grid], store.directory / "runs.csv")
    cost = study_cost(study, plan, results.values(), store.directory)
    images = {name.removesuffix(".png"): figure.png for name, figure in figures.items()}
    parts: dict[str, Any] = {"plan": plan, "study": study.to_dict(), "cost": cost, "images": images}
    tuned = store.read("recipe_law") if study.tuning else None
    parts |= {"tuned": tuned, "checked": study_rate_check(study, plan, results.values(), law)}
    found = {name: values for name, result in results.items() if (values := measured(result))}
    write_report(law, store.report, measured=found, forecasts=forecasts, rounds=rounds, **parts)
    drawn = [write_bytes(store.directory / "plots" / name, figure.png) for name, figure in figures.items()]
    store.push(table, store.report, *drawn)
