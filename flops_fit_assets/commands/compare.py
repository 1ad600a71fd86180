"""`flops-fit compare`: two laws, tables of runs or studies, and which is the better at a compute."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from flops_fit.basics.files import write_bytes
from flops_fit.basics.terminal import say, say_markdown
from flops_fit.errors import FlopsFitError
from flops_fit.results.results import load_runs
from flops_fit.scaling_law import ScalingLaw, compare_laws, fit_scaling_law_together
from flops_fit_assets.commands.forecast import LAW_FILE, law_in, law_kept_for

if TYPE_CHECKING:
    from rich.console import Console


@dataclass(frozen=True, kw_only=True)
class Side:
    """A law with its name, and the file that `flops-fit suggest` takes to say what to train next for it."""

    name: str
    law: ScalingLaw
    suggest_from: Path


def print_comparison(
    sources: tuple[Path, Path], at: str | None, share: str | None, plot: Path | None, as_json: bool, console: Console
) -> None:
    """Compare what `sources` (laws, tables or study files) hold at each FLOPs of `at`, with commas between.

    With `share` both are tables, fitted together with these parameters the same. `plot` is a file to draw to.
    """
    from flops_fit.drawing.render import figure_png

    if plot is not None and plot.suffix != ".png":
        raise FlopsFitError(f"--plot = {plot} must end with .png, the only kind of figure that is drawn here")
    targets = _targets(at)
    sides = _named([_side(source) for source in sources], sources)
    laws = {side.name: side.law for side in sides} if share is None else _together(sides, sources, share)
    found = compare_laws(laws, at=targets)
    if as_json:
        print(json.dumps(found.to_dict(), indent=2, allow_nan=False))
    else:
        typed = {side.name: shlex.join(["flops-fit", "suggest", str(side.suggest_from)]) for side in sides}
        say_markdown(console, f"{found.summary(typed)}\n\n{found.table()}")
    if plot is not None:
        write_bytes(plot, figure_png(found.plot()))
        if not as_json:
            say(console, f"figure: {plot}")


def _targets(at: str | None) -> list[float] | None:
    if at is None:
        return None
    try:
        return [float(part) for part in at.split(",")]
    except ValueError:
        raise FlopsFitError(f"--at = {at!r} must be FLOPs with commas between, such as --at 1e21,1e22") from None


def _side(source: Path) -> Side:
    if not source.exists():
        raise FlopsFitError(
            f"{source} does not exist; give two laws, tables of runs or study files, as in: "
            "flops-fit compare old.csv new.csv --at 1e21"
        )
    if source.suffix == ".toml":
        law, store = law_kept_for(source)
        return Side(name=store.directory.name, law=law, suggest_from=store.directory / LAW_FILE)
    name = source.resolve().parent.name if source.name == LAW_FILE else source.resolve().stem
    return Side(name=name, law=law_in(source), suggest_from=source)


def _named(sides: Sequence[Side], sources: Sequence[Path]) -> list[Side]:
    """Named by their paths where their own names are the same; a source and itself is refused."""
    if len({side.suggest_from.resolve() for side in sides}) < len(sides):
        raise FlopsFitError(
            f"{sources[0]} and {sources[1]} are both {sides[0].suggest_from}; give another law, table or study "
            "(studies of one name share their results: give one of them another)"
        )
    if len({side.name for side in sides}) == len(sides):
        return list(sides)
    return [
        Side(name=str(source), law=side.law, suggest_from=side.suggest_from)
        for side, source in zip(sides, sources, strict=True)
    ]


def _together(sides: Sequence[Side], sources: Sequence[Path], share: str) -> dict[str, ScalingLaw]:
    of_laws = [source for source in sources if source.suffix == ".toml" or source.name == LAW_FILE]
    if of_laws:
        raise FlopsFitError(f"--share fits tables of runs together, and {of_laws[0]} is none; give its runs.csv")
    tables = {side.name: load_runs(source) for side, source in zip(sides, sources, strict=True)}
    laws = fit_scaling_law_together(tables, shared=[name.strip() for name in share.split(",")])
    return dict(laws)
