"""The files a person looks at: the runs table, the report, the figures."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flops_fit.basics.files import write_bytes
from flops_fit.drawing.drawn import Drawn, NotDrawn
from flops_fit.results.results import ExperimentResult, measured, save_runs
from flops_fit.stages import study_cost
from flops_fit.study_law import study_rate_check
from flops_fit_assets.storage.store import StudyStore

if TYPE_CHECKING:
    from flops_fit.adaptive.progress import Progress
    from flops_fit.scaling_law import ScalingLaw
    from flops_fit.scaling_law.forecasts.calibration import Calibration
    from flops_fit.study.study import Study
    from flops_fit.sweep.sweep_plan import SweepPlan


def missing_files(store: StudyStore) -> list[Path]:
    """Which of the files that `publish` writes are not there; of a figure that could not be drawn, its note is one."""
    from flops_fit.scaling_law.figures.of_law import KINDS

    plots = [store.directory / "plots" / f"{name}.png" for name in KINDS]
    files = [store.directory / "runs.csv", store.report, *plots]
    return [path for path in files if not (path.is_file() or path.with_suffix(".txt").is_file())]


def _plot_files(store: StudyStore, figure: Drawn | NotDrawn) -> dict[Path, bytes]:
    """What is written of a figure, a picture and a vector graphic, or why there is none."""
    place = store.directory / "plots" / figure.name
    if isinstance(figure, NotDrawn):
        return {place.with_suffix(".txt"): f"{figure.title} could not be drawn: {figure.reason}\n".encode()}
    return {place.with_suffix(".png"): figure.png, place.with_suffix(".svg"): figure.svg.encode()}


def publish(
    store: StudyStore,
    study: Study,
    plan: SweepPlan,
    law: ScalingLaw,
    results: Mapping[str, ExperimentResult],
    figures: Mapping[str, Drawn | NotDrawn],
    forecasts: Calibration,
    rounds: Progress | None = None,
) -> None:
    """Write `runs.csv`, `report.html` and every figure as `plots/*.png` and `*.svg` beside the law; `rounds` of an
    adaptive study."""
    from flops_fit.report.report import write_report

    plots = {path: content for figure in figures.values() for path, content in _plot_files(store, figure).items()}
    for path in (store.directory / "runs.csv", store.report, *plots):
        store.room_for(path)
    grid = {item.experiment_id for item in plan.experiments}
    table = save_runs([result for name, result in results.items() if name in grid], store.directory / "runs.csv")
    cost = study_cost(study, plan, results.values(), store.directory)
    parts: dict[str, Any] = {"plan": plan, "study": study.to_dict(), "cost": cost, "figures": figures}
    tuned = store.read("recipe_law") if study.tuning else None
    parts |= {"tuned": tuned, "checked": study_rate_check(study, plan, results.values(), law)}
    found = {name: values for name, result in results.items() if (values := measured(result))}
    write_report(law, store.report, measured=found, forecasts=forecasts, rounds=rounds, **parts)
    written = [write_bytes(path, content) for path, content in plots.items()]
    for path in written:
        for other in (".png", ".svg") if path.suffix == ".txt" else (".txt",):  # of another law
            path.with_suffix(other).unlink(missing_ok=True)
    store.push(table, store.report, *written)
