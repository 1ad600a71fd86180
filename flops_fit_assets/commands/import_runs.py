"""`flops-fit import`: runs trained elsewhere become materialized trainings of a study, which are not trained again."""

from __future__ import annotations

from collections.abc import Container, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from dagster import AssetMaterialization
from filelock import FileLock

from flops_fit.basics.files import set_aside
from flops_fit.basics.terminal import say
from flops_fit.errors import FlopsFitError
from flops_fit.results.finished import LOCK_FILE, load_finished
from flops_fit.results.matching import Unmatched, match_runs
from flops_fit.stages import study_cost
from flops_fit.study.named_sets import measured_columns
from flops_fit_assets.commands.reading import Reading
from flops_fit_assets.freshness import versions
from flops_fit_assets.graph.batch_events import report_materializations
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
    """What came of a table of runs: experiments that have their result from it, those of them that had another one
    imported before, those that keep theirs, and rows left out."""

    new: Sequence[str]
    replaced: Sequence[str]
    kept: Sequence[str]
    unmatched: Sequence[Unmatched]
    num_experiments: int


def import_study_runs(
    table: Path, path: Path, home: Path, console: Console, reading: Reading | None = None, *, replace: bool = False
) -> Imported:
    """Plan the study at `path` where it is out of date, and give its experiments the results in `table`.

    An experiment that has a final result keeps it; with `replace` an imported one is set aside for another. The table
    is read as `reading` says. Raises `FlopsFitError` for a study or table that is not valid.
    """
    if not table.exists():
        raise FlopsFitError(f"{table} does not exist; give a table of runs or a directory of results")
    with headless_study(path, home, console) as study:
        plan, _ = study.bring_plan_up_to_date()
        columns = measured_columns(study.runs.source.study)
        results, unmatched = match_runs(plan, table, columns, **(reading or Reading()).options())
        there = _imported(study, results) if replace else {}
        new = _take(study, plan, results, there)
        if new:  # so that its table shows them; its content, and so whatever follows from it, stays as it is
            study.runs.materialize(study.instance, "sweep_plan")
        say_progress(study.runs.source, study.instance)
    kept = [result.experiment_id for result in results if result.experiment_id not in new]
    replaced = [name for name in new if name in there]
    return Imported(new=new, replaced=replaced, kept=kept, unmatched=unmatched, num_experiments=plan.num_experiments)


def print_import(
    table: Path, path: Path, home: Path, console: Console, reading: Reading | None = None, *, replace: bool = False
) -> bool:
    """Import, say what came of it, and return whether every row was used."""
    done = import_study_runs(table, path, home, console, reading, replace=replace)
    lines = [f"imported {len(done.new)} of {done.num_experiments} experiments"]
    if done.replaced:
        lines.append(f"{len(done.replaced)} replace what was imported before: {', '.join(done.replaced)}")
    if done.kept:
        why = " (trained here, or the same)" if replace else ""
        lines.append(f"{len(done.kept)} had a result already, which stays{why}: {', '.join(done.kept)}")
        lines += [] if replace else ["to put these in the place of what was imported before: --replace"]
    lines += [f"row {item.row} is left out: {item.reason}" for item in done.unmatched]
    say(console, *lines)
    return not done.unmatched


def _imported(study: HeadlessStudy, results: Sequence[ExperimentResult]) -> dict[str, ExperimentResult]:
    """Of the experiments of `results`, the results that they have from an earlier import and that differ."""
    store = study.runs.source.store
    store.pull_results(result.experiment_id for result in results)
    there = {
        item.experiment_id: load_finished(store.path("training_run", item.experiment_id).parent) for item in results
    }
    new = {item.experiment_id: item for item in results}
    return {name: old for name, old in there.items() if old and old.source == "imported" and old != new[name]}


def _take(
    study: HeadlessStudy, plan: SweepPlan, results: Sequence[ExperimentResult], replaced: Container[str]
) -> list[str]:
    """Keep the results of experiments that have no final one, or one that is `replaced`, and report their
    materialization; which those are."""
    store = study.runs.source.store
    store.pull_results(result.experiment_id for result in results)
    taken = [
        result
        for result in results
        if _written(store.path("training_run", result.experiment_id), result, result.experiment_id in replaced)
    ]
    store.push(*(store.path("training_run", result.experiment_id) for result in taken))
    seconds = study_cost(study.runs.source.study, plan).seconds
    experiments = {item.experiment_id: item for item in plan.experiments}
    events = [
        materialization(study, experiments[result.experiment_id], result, seconds[result.experiment_id])
        for result in taken
    ]
    report_materializations(study.instance, events)
    return [result.experiment_id for result in taken]


def _written(path: Path, result: ExperimentResult, replaces: bool) -> bool:
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_name(LOCK_FILE)):
        if load_finished(path.parent) is not None:
            if not replaces:
                return False
            set_aside(path)
        result.save(path)
    return True


def materialization(
    study: HeadlessStudy, experiment: Experiment, result: ExperimentResult, seconds: float
) -> AssetMaterialization:
    """What tells Dagster of the result of an experiment that no run of its trained."""
    source = study.runs.source
    return AssetMaterialization(
        source.key("training_run"),
        partition=result.experiment_id,
        metadata=run_metadata(experiment, result, seconds, source.study.hardware, source.store),
        tags={
            versions.DATA_VERSION_TAG: versions.version_of(result),
            versions.MADE_FROM_TAG: versions.training_made_from(experiment),
        },
    )
