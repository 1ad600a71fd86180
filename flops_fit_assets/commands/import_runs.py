"""`flops-fit import`: runs trained elsewhere become materialized trainings of a study, which are not trained again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from dagster import AssetMaterialization
from filelock import FileLock

from flops_fit.basics.terminal import say
from flops_fit.errors import FlopsFitError
from flops_fit.results.finished import LOCK_FILE, load_finished
from flops_fit.results.matching import Unmatched, match_runs
from flops_fit.stages import study_cost
from flops_fit.study.named_sets import measured_columns
from flops_fit_assets.freshness import versions
from flops_fit_assets.graph.progress import say_progress
from flops_fit_assets.headless.study import HeadlessStudy, headless_study
from flops_fit_assets.metadata.training_run import run_metadata

if TYPE_CHECKING:
    from rich.console import Console

    from flops_fit.results.results import ExperimentResult
    from flops_fit.sweep.experiment import Experiment
    from flops_fit.sweep.sweep_plan import SweepPlan


@dataclass(frozen=True, kw_only=True)
class Imported:
    """What came of a table of runs: experiments that have their result from it, those that had one, rows left out."""

    new: Sequence[str]
    kept: Sequence[str]
    unmatched: Sequence[Unmatched]
    num_experiments: int


def import_study_runs(table: Path, path: Path, home: Path, console: Console) -> Imported:
    """Plan the study at `path` where it is out of date, and give its experiments the results in `table`.

    An experiment that has a final result keeps it. Raises `FlopsFitError` for a study or table that is not valid.
    """
    if not table.exists():
        raise FlopsFitError(f"{table} does not exist; give a table of runs or a directory of results")
    with headless_study(path, home, console) as study:
        plan, _ = study.bring_plan_up_to_date()
        results, unmatched = match_runs(plan, table, measured_columns(study.runs.source.study))
        new = _take(study, plan, results)
        if new:  # so that its table shows them; its content, and so whatever follows from it, stays as it is
            study.runs.materialize(study.instance, "sweep_plan")
        say_progress(study.runs.source, study.instance)
    kept = [result.experiment_id for result in results if result.experiment_id not in new]
    return Imported(new=new, kept=kept, unmatched=unmatched, num_experiments=plan.num_experiments)


def print_import(table: Path, path: Path, home: Path, console: Console) -> bool:
    """Import, say what came of it, and return whether every row was used."""
    done = import_study_runs(table, path, home, console)
    lines = [f"imported {len(done.new)} of {done.num_experiments} experiments"]
    if done.kept:
        lines.append(f"{len(done.kept)} had a result already, which stays: {', '.join(done.kept)}")
    lines += [f"row {item.row} is left out: {item.reason}" for item in done.unmatched]
    say(console, *lines)
    return not done.unmatched


def _take(study: HeadlessStudy, plan: SweepPlan, results: Sequence[ExperimentResult]) -> list[str]:
    """Keep the results of experiments that have no final one, report their materialization; which those are."""
    store = study.runs.source.store
    store.pull_results(result.experiment_id for result in results)
    taken = [result for result in results if _written(store.path("training_run", result.experiment_id), result)]
    store.push(*(store.path("training_run", result.experiment_id) for result in taken))
    seconds = study_cost(study.runs.source.study, plan).seconds
    experiments = {item.experiment_id: item for item in plan.experiments}
    for result in taken:
        name = result.experiment_id
        _report(study, experiments[name], result, seconds[name])
    return [result.experiment_id for result in taken]


def _written(path: Path, result: ExperimentResult) -> bool:
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_name(LOCK_FILE)):
        if load_finished(path.parent) is not None:
            return False
        result.save(path)
    return True


def _report(study: HeadlessStudy, experiment: Experiment, result: ExperimentResult, seconds: float) -> None:
    source = study.runs.source
    tags = {
        versions.DATA_VERSION_TAG: versions.version_of(result),
        versions.MADE_FROM_TAG: versions.training_made_from(experiment),
    }
    study.instance.report_runless_asset_event(
        AssetMaterialization(
            source.key("training_run"),
            partition=result.experiment_id,
            metadata=run_metadata(experiment, result, seconds, source.study.hardware, source.store),
            tags=tags,
        )
    )
