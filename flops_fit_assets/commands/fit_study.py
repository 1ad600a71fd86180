"""`flops-fit fit study.toml`: the law of a study's results on one of its held-out sets, without touching Dagster."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from flops_fit.errors import FlopsFitError
from flops_fit.stages import fit_study
from flops_fit_assets.source import StudySource
from flops_fit_assets.storage.finished import finished_results

if TYPE_CHECKING:
    from flops_fit.scaling_law import ScalingLaw


def law_of_study(path: Path, eval_set: str | None) -> tuple[ScalingLaw, Path]:
    """The law of the study at `path` on held-out set `eval_set`, by default its own, and where its report belongs."""
    source = StudySource.of(path)
    try:
        plan = source.store.read("sweep_plan")
    except FileNotFoundError as error:
        raise FlopsFitError(f"{error.filename} does not exist; `flops-fit run {path}` makes it") from error
    results = finished_results(source.store, plan)
    if not results:
        raise FlopsFitError(f"no training of {path} has finished; `flops-fit run {path}` trains them")
    law = fit_study(source.study, plan, results.values(), eval_set=eval_set)
    return law, source.store.directory / f"{eval_set or 'law'}_report.html"
