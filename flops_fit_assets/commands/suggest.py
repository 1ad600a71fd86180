"""`flops-fit suggest`: what to train next, for people who train elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from flops_fit.basics.files import write_text
from flops_fit.basics.formatting import format_flops
from flops_fit.basics.terminal import say, say_markdown
from flops_fit.errors import FlopsFitError
from flops_fit.scaling_law.next_experiments.in_words import FURTHER, suggestions_csv, suggestions_table
from flops_fit.study.vary import file_of
from flops_fit_assets.commands.forecast import law_in

if TYPE_CHECKING:
    from rich.console import Console

    from flops_fit_assets.commands.reading import Reading


def print_suggestions(
    source: Path,
    target: float | None,
    flops: float | None,
    count: int,
    quantity: str,
    output: Path | None,
    console: Console,
    reading: Reading | None = None,
) -> None:
    """Print which `count` experiments would narrow the answer at `target` FLOPs most, of `flops` to spend.

    `source` is a table of runs, read as `reading` says, a directory of results or a law; `output` a CSV file to write
    them to. Of a study file it is what to write into it, so that `flops-fit run` trains it. Without a `target` it is
    ten times the largest run, where the law's own verdict is about.
    """
    if file_of(source).suffix == ".toml":
        _refuse_of_tables(source, flops, output, reading)
        say(console, _of_study(source, target))
        return
    if not source.exists():
        raise FlopsFitError(f"{source} does not exist; give a table of runs, a directory of results or a law")
    law = law_in(source, reading)
    asked, target = target, FURTHER * float(law.runs.flops.max()) if target is None else target
    found = law.next_experiments(count, target=target, total_flops=flops, quantity=quantity)
    spend = "10 times the largest run" if flops is None else f"{format_flops(flops)} FLOPs"
    there = f"{format_flops(target)} FLOPs{'' if asked else ' (10 times the largest run; another: --target)'}"
    lines = [f"to narrow the answer at {there}, with {spend} to spend in all:"]
    lines += [suggestions_table(law, found, target)] if found else [_nothing(float(law.runs.flops.max()), spend)]
    lines.append("N_opt and loss: half of the 90 % interval, now and as expected with all runs up to that line")
    if output is not None and found:
        lines.append(f"file: {write_text(output, suggestions_csv(found))}")
    say_markdown(console, "\n".join(lines if found else lines[:2]))


def _nothing(largest: float, spend: str) -> str:
    return (
        f"nothing to train: {spend} reaches no further than the runs do, to {format_flops(largest)} FLOPs, and their "
        f"budgets have sizes enough; to go on give --flops {format_flops(4 * largest)} or more"
    )


def _refuse_of_tables(study: Path, flops: float | None, output: Path | None, reading: Reading | None) -> None:
    """Raise `UsageError` where options were typed that a study file has no use for."""
    typed = [f"{name} {value}" for name, value in (("--flops", flops), ("--output", output)) if value is not None]
    if typed:
        raise click.UsageError(
            f"{typed[0]} is for a table of runs or a law, and {study} is a study, whose own options say what is added; "
            "leave it out, or give the study's runs.csv"
        )
    if reading is not None:
        reading.refuse(str(study), "the study's runs.csv")


def _of_study(source: Path, target: float | None) -> str:
    """What the study at `source` would add to its plan."""
    from flops_fit_assets.commands.fit_study import next_of_study

    return next_of_study(source, target) or "nothing: its law is trustworthy there, or its runs determine none"
