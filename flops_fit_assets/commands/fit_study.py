"""`flops-fit fit study.toml`: the law of a study's results on one of its held-out sets, without touching Dagster."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from flops_fit.errors import FlopsFitError
from flops_fit.extension import what_is_next, with_what_is_next
from flops_fit.study_law import fit_study
from flops_fit_assets.graph.tuned_study import with_recipe
from flops_fit_assets.source import StudySource
from flops_fit_assets.storage.finished import finished_results

if TYPE_CHECKING:
    from flops_fit.results.results import ExperimentResult
    from flops_fit.scaling_law import ScalingLaw
    from flops_fit.sweep.sweep_plan import SweepPlan


def law_of_study(path: Path, eval_set: str | None) -> tuple[ScalingLaw, Path]:
    """The law of the study at `path` on held-out set `eval_set`, by default its own, and where its report belongs;
    on standard error, how many of its trainings are not in it."""
    source, plan, results = _finished(path)
    if left := len(plan.trainings) - len(results):
        said = f"{left} of {len(plan.trainings)} trainings of {path} have not finished and are not in this law"
        click.echo(f"{said}; `flops-fit run {path}` trains them", err=True)
    law = fit_study(source.study, plan, results.values(), eval_set=eval_set)
    with contextlib.suppress(FileNotFoundError):  # where only the plan was copied
        size_map = source.store.read("size_map")
        law = with_what_is_next(with_recipe(source), size_map, plan, results.values(), law)
    return law, source.store.directory / f"{eval_set or 'law'}_report.html"


def next_of_study(path: Path, target: float | None) -> str:
    """What the study at `path` would add for the answer at `target` FLOPs, as `what_is_next`."""
    source, plan, results = _finished(path)
    law = fit_study(source.study, plan, results.values())
    return what_is_next(with_recipe(source), _kept(source, "size_map", path), plan, results.values(), law, target)


def _finished(path: Path) -> tuple[StudySource, SweepPlan, Mapping[str, ExperimentResult]]:
    """The study at `path`, its plan, and what of it is trained."""
    source = StudySource.of(path)
    plan = _kept(source, "sweep_plan", path)
    results = finished_results(source.store, plan)
    if not results:
        raise FlopsFitError(f"no training of {path} has finished; `flops-fit run {path}` trains them")
    return source, plan, results


def _kept(source: StudySource, stage: str, path: Path) -> Any:
    try:
        return source.store.read(stage)
    except FileNotFoundError as error:
        raise FlopsFitError(f"{error.filename} does not exist; `flops-fit run {path}` makes it") from error
