"""`flops-fit forecast`: seal what a law says of larger budgets, or show how the forecasts made so far came out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from flops_fit.basics.arguments import is_number
from flops_fit.basics.files import read_text
from flops_fit.basics.formatting import format_flops
from flops_fit.basics.terminal import say_markdown
from flops_fit.errors import FlopsFitError
from flops_fit.results.results import load_runs
from flops_fit.scaling_law import Forecast, ScalingLaw, fit_scaling_law, score_forecasts
from flops_fit.scaling_law.fitted import LAW_SCHEMA
from flops_fit.scaling_law.forecasts.folder import keep, load_forecasts
from flops_fit.study.vary import file_of
from flops_fit_assets.commands.plan import write_again
from flops_fit_assets.commands.reading import Reading
from flops_fit_assets.instance.where import DEFAULT_HOME
from flops_fit_assets.source import StudySource
from flops_fit_assets.storage.store import StudyStore

if TYPE_CHECKING:
    from rich.console import Console

LAW_FILE = "scaling_law.json"


@dataclass(frozen=True, kw_only=True)
class Subject:
    """A law, the folder of its forecasts, and the files of the study where it is one's."""

    law: ScalingLaw
    folder: Path
    store: StudyStore | None = None


def print_forecast(
    source: Path,
    targets: Sequence[str],
    level: float,
    folder: Path | None,
    console: Console,
    reading: Reading | None = None,
) -> bool:
    """Forecast `targets` (FLOPs), or without any show how forecasts came out; whether all could be used.

    Args:
        source: a study file, a law, or a table of runs or directory of results, to which a law is fitted.
        folder: of the forecasts, where it is not the one that belongs to `source`.
        reading: how a table is read.
    """
    subject = _subject(source, folder, reading or Reading())
    lines, usable = _make(subject, source, targets, level) if targets else _list(subject, source)
    say_markdown(console, "\n".join(lines))
    return usable


def folder_beside(source: Path) -> Path:
    """Where forecasts of a table, a law or a directory of results are kept: beside it, or in a study's own folder."""
    if source.name == LAW_FILE:
        return source.with_name("forecasts")
    return source / "forecasts" if (source / LAW_FILE).exists() else source.with_name(f"{source.stem}_forecasts")


def _make(subject: Subject, source: Path, targets: Sequence[str], level: float) -> tuple[list[str], bool]:
    forecast = subject.law.forecast(targets, level=level)
    if subject.store:
        subject.store.room_for(subject.folder / forecast.file_name)
    path, before = keep(forecast, subject.folder)
    lines = [
        f"at {format_flops(compute)} FLOPs it was forecast before: {held}, sha256 {Forecast.load(held).sha256}"
        for compute, held in before.items()
    ]
    if path is None:
        return lines, True
    lines += [Forecast.load(path).summary(), f"file: {path}"]
    if subject.store:
        subject.store.push(path)
        lines.append(f"report: {write_again(source)}")
    return lines, True


def _list(subject: Subject, source: Path) -> tuple[list[str], bool]:
    calibration = score_forecasts(subject.folder, subject.law.runs)
    if not calibration:
        example = format_flops(10 * float(subject.law.runs.flops.max()))
        return [f"{subject.folder} holds no forecasts; to make one: flops-fit forecast {source} {example}"], True
    files = [f"{path}  sha256 {held.sha256}" for path, held in load_forecasts(subject.folder).forecasts.items()]
    return [calibration.summary(), *files], not calibration.problems


def _subject(source: Path, folder: Path | None, reading: Reading) -> Subject:
    if file_of(source).suffix == ".toml":
        reading.refuse(str(source), "its runs.csv")
        if folder is not None:
            raise FlopsFitError(
                f"--folder = {folder} is for tables and laws; {source} keeps forecasts in its own folder"
            )
        return _of_study(source)
    if not source.exists():
        named = (
            f"{source} is a compute budget, which comes after"
            if _is_compute(source)
            else f"{source} does not exist; give"
        )
        raise FlopsFitError(
            f"{named} a study file, a law or a table of runs, as in: flops-fit forecast study.toml 1e21"
        )
    return Subject(law=law_in(source, reading), folder=folder or folder_beside(source))


def _of_study(path: Path) -> Subject:
    law, store = law_kept_for(path)
    store.pull_folder(store.forecasts)
    return Subject(law=law, folder=store.forecasts, store=store)


def law_kept_for(study: Path) -> tuple[ScalingLaw, StudyStore]:
    """The law that a study file's study has, and where that is."""
    store = StudySource.of(study).store
    try:
        return store.read("scaling_law"), store
    except FileNotFoundError as error:
        raise FlopsFitError(
            f"{error.filename} does not exist; `flops-fit run {study}` makes it{_run_elsewhere(study, store)}"
        ) from error


def _run_elsewhere(study: Path, store: StudyStore) -> str:
    """What to give instead where the study was run in the folder of its file, and this is another."""
    file = file_of(study)
    law = (file if file.is_dir() else file.parent) / DEFAULT_HOME / store.directory.name / LAW_FILE
    return f"; it was run in another folder, so give {law}" if law.exists() else ""


def law_in(source: Path, reading: Reading | None = None) -> ScalingLaw:
    """The law in a file or directory; else that of the runs which are there, read as `reading` says."""
    reading = reading or Reading()
    path = source / LAW_FILE if source.is_dir() else source
    if path.suffix == ".json" and path.exists() and LAW_SCHEMA in read_text(path)[:200]:
        reading.refuse(str(path), "the table of its runs")
        return ScalingLaw.load(path)
    return fit_scaling_law(load_runs(source), **reading.options())


def _is_compute(source: Path) -> bool:
    try:
        return is_number(float(str(source)))
    except ValueError:
        return False
