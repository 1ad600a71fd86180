"""`flops-fit compare`: laws, tables of runs, studies or the values of one, and which is the best at a compute."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flops_fit.basics.files import read_text, write_bytes
from flops_fit.basics.terminal import say, say_markdown
from flops_fit.errors import FileError, FitError, FlopsFitError
from flops_fit.results.results import load_runs
from flops_fit.scaling_law import ScalingLaw, compare_laws, fit_scaling_law_together, rank_laws
from flops_fit.scaling_law.fitted import LAW_SCHEMA
from flops_fit.scaling_law.table.columns import runs_table
from flops_fit.study.study_file import varied
from flops_fit.study.vary import file_of
from flops_fit.tables.timings import with_timings
from flops_fit_assets.commands.forecast import LAW_FILE, law_in, law_kept_for
from flops_fit_assets.commands.printed_json import print_json
from flops_fit_assets.commands.reading import Reading
from flops_fit_assets.commands.varied import kept_ranking, varies
from flops_fit_assets.compared import timed_runs

if TYPE_CHECKING:
    from rich.console import Console

    from flops_fit.scaling_law import Comparison, Ranking


@dataclass(frozen=True, kw_only=True)
class Side:
    """A law with its name, the file that `flops-fit suggest` takes to say what to train next for it, and its runs with
    their seconds, where there are any."""

    name: str
    law: ScalingLaw
    suggest_from: Path
    timed: Any = None


def print_comparison(
    sources: Sequence[Path],
    at: str | None,
    share: str | None,
    plot: Path | None,
    as_json: bool,
    console: Console,
    report: Path | None = None,
    reading: Reading | None = None,
) -> None:
    """Compare what `sources` (laws, tables or study files) hold at each FLOPs of `at`, with commas between.

    A single source is a study file with [sweep.vary], whose values are compared. With `share` there are two, both
    tables, fitted together with these parameters the same. `plot` and `report` are files to write to.
    """
    from flops_fit.drawing.render import figure_png
    from flops_fit.report.comparison_report import write_comparison_report

    if plot is not None and plot.suffix != ".png":
        raise FlopsFitError(f"--plot = {plot} must end with .png, the only kind of figure that is drawn here")
    found, typed = _found(sources, _targets(at), share, reading or Reading())
    written = [] if plot is None else [f"figure: {write_bytes(plot, figure_png(found.plot()))}"]
    written += [] if report is None else [f"report: {write_comparison_report(found, report, commands=typed)}"]
    if as_json:
        print_json(found.to_dict())
        return
    say_markdown(console, f"{found.summary(typed)}\n\n{found.table()}")
    say(console, *written)


def _found(
    sources: Sequence[Path], targets: list[float] | None, share: str | None, reading: Reading
) -> tuple[Comparison | Ranking, dict[str, str]]:
    """What the sources say side by side, and by name what is typed to find the next experiments."""
    varying = [source for source in sources if varies(source)]
    if varying:
        reading.refuse(str(varying[0]), "tables of runs")
        if len(sources) > 1 or share is not None:
            beside = "--share" if share is not None else "another source"
            raise FlopsFitError(
                f"{varying[0]} has [sweep.vary] and is compared alone, all its values; to have one of them with "
                f"{beside}, name it: {next(iter(_paths(varying[0])))}"
            )
        ranking, compared = kept_ranking(sources[0], targets)
        return ranking, compared.suggestions
    if len(sources) < 2:
        raise FlopsFitError(
            f"{sources[0]} alone was given; give two laws, tables of runs or study files, as in: "
            f"flops-fit compare {sources[0]} new.csv --at 1e21"
        )
    sides = _named([_side(source, reading) for source in sources], sources)
    typed = {side.name: shlex.join(["flops-fit", "suggest", str(side.suggest_from), *reading.typed]) for side in sides}
    timed = {side.name: side.timed for side in sides if side.timed is not None} or None
    laws = {side.name: side.law for side in sides}
    if len(sides) > 2:
        if share is not None:
            raise FlopsFitError(f"--share = {share} fits two tables together, and {len(sides)} were given; give two")
        return rank_laws(laws, targets, timed=timed), typed
    laws = laws if share is None else _together(sides, sources, share, reading)
    return compare_laws(laws, at=targets, timed=timed), typed


def _paths(study: Path) -> list[Path]:
    found = varied(study)
    return [] if found is None else [*found[1].values()]


def _targets(at: str | None) -> list[float] | None:
    if at is None:
        return None
    try:
        return [float(part) for part in at.split(",")]
    except ValueError:
        raise FlopsFitError(f"--at = {at!r} must be FLOPs with commas between, such as --at 1e21,1e22") from None


def _side(source: Path, reading: Reading) -> Side:
    if not file_of(source).exists():
        raise FlopsFitError(
            f"{source} does not exist; give two laws, tables of runs or study files, as in: "
            "flops-fit compare old.csv new.csv --at 1e21"
        )
    if file_of(source).suffix == ".toml":
        reading.refuse(str(source), "the runs.csv of both")
        law, store = law_kept_for(source)
        timed = timed_runs(store, law)
        return Side(name=store.directory.name, law=law, suggest_from=store.directory / LAW_FILE, timed=timed)
    name = source.resolve().parent.name if source.name == LAW_FILE else source.resolve().stem
    return Side(name=name, law=law_in(source, reading), suggest_from=source, timed=_timed(source, reading))


def _timed(source: Path, reading: Reading) -> Any:
    """The runs in a table, read as `reading` says, or in a folder, with their seconds; of a law those in the folder
    that it is in; None where there are none."""
    beside = source.with_name("runs.csv")
    try:
        if source.name == LAW_FILE:
            return with_timings(runs_table(beside).frame)
        if source.suffix == ".json" and LAW_SCHEMA in read_text(source)[:200]:
            return None
        return with_timings(runs_table(source, **reading.options()).frame)
    except (FileError, FileNotFoundError, FitError):
        return None


def _named(sides: Sequence[Side], sources: Sequence[Path]) -> list[Side]:
    """Named by their paths where their own names are the same; a source and itself is refused."""
    if len({side.suggest_from.resolve() for side in sides}) < len(sides):
        first, second = _twice(sides)
        raise FlopsFitError(
            f"{sources[first]} and {sources[second]} are both {sides[first].suggest_from}; give another law, table or "
            "study (studies of one name share their results: give one of them another)"
        )
    if len({side.name for side in sides}) == len(sides):
        return list(sides)
    return [replace(side, name=str(source)) for side, source in zip(sides, sources, strict=True)]


def _twice(sides: Sequence[Side]) -> tuple[int, int]:
    files = [side.suggest_from.resolve() for side in sides]
    second = next(place for place, file in enumerate(files) if file in files[:place])
    return files.index(files[second]), second


def _together(sides: Sequence[Side], sources: Sequence[Path], share: str, reading: Reading) -> dict[str, ScalingLaw]:
    of_laws = [source for source in sources if file_of(source).suffix == ".toml" or source.name == LAW_FILE]
    if of_laws:
        raise FlopsFitError(f"--share fits tables of runs together, and {of_laws[0]} is none; give its runs.csv")
    tables = {side.name: load_runs(source) for side, source in zip(sides, sources, strict=True)}
    laws = fit_scaling_law_together(tables, shared=[name.strip() for name in share.split(",")], **reading.options())
    return dict(laws)
