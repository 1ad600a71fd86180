"""The commands about runs and laws: fit, forecast, suggest, compare."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from flops_fit_assets.terminal.exampled import ExampledCommand
from flops_fit_assets.terminal.shared import JSON, SOME_NOT_COMPLETED, SourcePath, console, reading_options

if TYPE_CHECKING:
    from flops_fit_assets.commands.reading import Reading


@click.command(
    cls=ExampledCommand,
    example="flops-fit fit runs.csv --target 1e21",
    short_help="Fit a law to a table of runs or a study's results.",
)
@click.argument("runs", type=SourcePath())
@click.option(
    "--report",
    "report_path",
    type=click.Path(path_type=Path, dir_okay=False),
    help="File to write the report to.",
)
@click.option("--target", help="FLOPs to extrapolate to, several with commas: 1e20,1e21.")
@click.option("--fix", multiple=True, help="What is known: E=1.69, or a range, alpha=0.3:0.4. It may be repeated.")
@reading_options
@click.option(
    "--metric", multiple=True, help="A column to predict from the loss, such as accuracy. It may be repeated."
)
@click.option("--eval-set", help="Of a study with several held-out sets, the one whose losses are fitted.")
@JSON
def fit(
    runs: Path,
    report_path: Path | None,
    target: str | None,
    fix: tuple[str, ...],
    reading: Reading,
    metric: tuple[str, ...],
    eval_set: str | None,
    as_json: bool,
) -> None:
    """Fit a scaling law to RUNS: a table in nearly any form, a directory of results, or a study file.

    Forecasts that `flops-fit forecast RUNS` made are scored by them. Of a study file the results that it has are taken,
    with their losses on its own held-out set or on another (--eval-set).
    """
    from flops_fit_assets.commands.fit import TableOptions, print_fit
    from flops_fit_assets.commands.varied import print_fits, varies

    of_table = TableOptions(fix=fix, reading=reading, metric=metric)
    print_it = print_fits if varies(runs) else print_fit
    print_it(runs, console(), report_path, target, eval_set, of_table, as_json=as_json)


@click.command(
    cls=ExampledCommand,
    example="flops-fit forecast study.toml 1e21",
    short_help="Seal what a law says of larger budgets, scored later.",
)
@click.argument("source", type=SourcePath())
@click.argument("compute", nargs=-1)
@click.option("--level", default=0.9, show_default=True, help="Probability that the intervals are to have.")
@click.option("--folder", type=click.Path(path_type=Path), help="Of a table's or a law's forecasts, if it is another.")
@reading_options
def forecast(source: Path, compute: tuple[str, ...], level: float, folder: Path | None, reading: Reading) -> None:
    """Seal what the law of SOURCE (a study file, a law, or a table of runs) says of budgets of COMPUTE FLOPs.

    Without COMPUTE, show all forecasts, scored by the runs that are there now. Exit code 0; 2 if one cannot be used;
    1 otherwise.
    """
    from flops_fit_assets.commands.forecast import print_forecast

    if not print_forecast(source, compute, level, folder, console(), reading):
        click.get_current_context().exit(SOME_NOT_COMPLETED)


@click.command(
    cls=ExampledCommand,
    example="flops-fit suggest runs.csv --target 1e22 --flops 1e21",
    short_help="Say what to train next, and what it should bring.",
)
@click.argument("runs", type=SourcePath())
@click.option("--target", type=float, help="FLOPs that are asked about; by default 10 times the largest run.")
@click.option("--flops", type=float, help="What may be spent on experiments; by default 10 times the largest run.")
@click.option("-n", "count", default=5, show_default=True, help="Experiments to suggest.")
@click.option("--quantity", default="both", show_default=True, help="What must be known: N_opt, loss or both.")
@click.option("--output", type=click.Path(path_type=Path, dir_okay=False), help="CSV file to write them to.")
@reading_options
def suggest(
    runs: Path,
    target: float | None,
    flops: float | None,
    count: int,
    quantity: str,
    output: Path | None,
    reading: Reading,
) -> None:
    """Say what to train next, after RUNS (a table, results, a law or a study file), to know more at --target.

    Nothing is written without --output, whose column `loss` is to be filled in.
    """
    from flops_fit_assets.commands.suggest import print_suggestions

    print_suggestions(runs, target, flops, count, quantity, output, console(), reading)


@click.command(
    cls=ExampledCommand,
    example="flops-fit compare old.csv new.csv --at 1e21",
    short_help="Say which of several recipes is best at a compute.",
)
@click.argument("sources", type=SourcePath(), nargs=-1, required=True)
@click.option("--at", help="FLOPs to compare at: 1e21, or several, 1e21,1e22; by default 10 times the largest run.")
@click.option("--share", help="Of two tables, what is the same in both: alpha,beta or E,alpha,beta. Fitted together.")
@click.option("--plot", type=click.Path(path_type=Path, dir_okay=False), help="PNG file to draw both curves to.")
@click.option("--report", type=click.Path(path_type=Path, dir_okay=False), help="HTML file to write a report to.")
@reading_options
@JSON
def compare(
    sources: tuple[Path, ...],
    at: str | None,
    share: str | None,
    plot: Path | None,
    report: Path | None,
    reading: Reading,
    as_json: bool,
) -> None:
    """Say which of SOURCES (laws, tables of runs, or study files) is the best at a compute, and how sure that is.

    Give two or more, or one study file with [sweep.vary], whose values are compared.
    """
    from flops_fit_assets.commands.compare import print_comparison

    print_comparison(sources, at, share, plot, as_json, console(), report, reading)
