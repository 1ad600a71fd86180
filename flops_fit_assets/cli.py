"""`flops-fit`: plan, check, run, import, fit, forecast, suggest, compare, ui, demo, ...; heavy imports come late."""

from __future__ import annotations

import shlex
import signal
import sys
import warnings
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from flops_fit_assets.instance.home import DEMO_STUDY
from flops_fit_assets.instance.where import home_directory

if TYPE_CHECKING:
    from rich.console import Console

    from flops_fit.adaptive.progress import Progress
    from flops_fit.results.results import ExperimentResult
    from flops_fit_assets.headless.study import Outcome

STUDY = click.argument("study", type=click.Path(path_type=Path), default=Path("study.toml"))
SOME_NOT_COMPLETED = 2


class _Readable(click.Group):
    """Errors of this project and of the machine are printed in a line, without a traceback, and end with exit code 1.

    Anything else is an error in this program, whose traceback is wanted.
    """

    def invoke(self, ctx: click.Context) -> Any:
        from flops_fit.errors import FlopsFitError

        try:
            with warnings.catch_warnings():
                warnings.showwarning = _show_warning
                return super().invoke(ctx)
        except FlopsFitError as error:
            raise click.ClickException(str(error)) from error
        except KeyboardInterrupt as error:
            ctx.exit(_interrupted(error))
        except SystemExit as error:  # ours are `ctx.exit`
            if isinstance(error.__context__, BrokenPipeError):  # of `flops-fit plan | head`, whose reader has enough
                ctx.exit(0)
            from flops_fit.processes.blame import said_by

            raise click.ClickException(
                f"the study's own code ended the program: {said_by(error)}; let it raise an error instead, or return"
            ) from error
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except Exception as error:
            from flops_fit_assets.instance.trouble import readable

            if (said := readable(error)) is None:
                raise
            raise click.ClickException(said) from error


def _interrupted(error: KeyboardInterrupt) -> int:
    """After Ctrl-C, or another signal that asks a process to end, say how far it came and how to go on; the code."""
    number = getattr(error, "number", signal.SIGINT)
    notes = "".join(f"; {note}" for note in getattr(error, "__notes__", ()))
    again = shlex.join(["flops-fit", *sys.argv[1:]])
    click.echo(
        f"interrupted ({signal.Signals(number).name}){notes}; what is finished is kept, and a training under way goes "
        f"on from its last checkpoint; to go on: {again}",
        err=True,
    )
    return 128 + number


def _show_warning(message: Warning | str, category: type[Warning], *where: Any, **more: Any) -> None:
    """Ours without the line of code that gave them, once each; others as Python does."""
    from flops_fit.errors import FlopsFitWarning

    if not issubclass(category, FlopsFitWarning):
        _python_shows(message, category, *where, **more)
    elif str(message) not in _shown:
        _shown.add(str(message))
        click.echo(f"warning: {message}", err=True)


_python_shows = warnings.showwarning
_shown: set[str] = set()


@click.group(cls=_Readable, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="flops-fit")
def main() -> None:
    """How large a model, how many tokens, what loss: IsoFLOP studies of any PyTorch model class.

    Data and Dagster's history live in FLOPS_FIT_HOME (default: ./flops_fit_data), the data also in FLOPS_FIT_STORAGE.
    """


@main.command()
@click.argument("directory", type=click.Path(path_type=Path, file_okay=False), default=Path())
@click.option("--template", default="mlp", show_default=True, help="What to begin from; `--template list` names them.")
def init(directory: Path, template: str) -> None:
    """Write a study to begin from into DIRECTORY (default: this one): study.toml with every key, model and data."""
    from flops_fit_assets.commands.init import TEMPLATES, init_study

    if template not in TEMPLATES:
        for name, item in TEMPLATES.items():
            click.echo(f"  {name:<12} {item.about}")
        if template == "list":
            return
        raise click.BadParameter(f"{template!r} is none of these", param_hint="--template")
    click.echo("\n".join(init_study(directory, template)))


@main.command()
@STUDY
def plan(study: Path) -> None:
    """Show what STUDY (default study.toml) would train and what that costs; trains and writes nothing."""
    _refuse_early(study)
    from flops_fit_assets.commands.plan import print_plan

    print_plan(study, _console())


@main.command()
@STUDY
def check(study: Path) -> None:
    """Take a few steps of STUDY at its smallest and largest size: what fails, how long it takes, for `plan` too.

    Exit code 0, or 1 if anything fails.
    """
    _refuse_early(study)
    from flops_fit_assets.commands.check import print_preflight

    if not print_preflight(study, _console()):
        click.get_current_context().exit(1)


@main.command("learning-rate")
@STUDY
def learning_rate(study: Path) -> None:
    """Train both ends of STUDY's cheapest budget at five learning rates, and say whether the recipe's is right."""
    _refuse_early(study)
    from flops_fit_assets.commands.check import print_learning_rate

    print_learning_rate(study, _console())


@main.command()
@STUDY
@click.option(
    "--until",
    multiple=True,
    help="What an adaptive study must know, instead of what its file says: N_opt=1.2 (within that factor) or loss=0.01 "
    "(within that share of it); may be given for both.",
)
@click.option(
    "--train-anyway", is_flag=True, help="Train also what is too little for a law, which is refused otherwise."
)
def run(study: Path, until: tuple[str, ...], train_anyway: bool) -> None:
    """Bring STUDY up to date: train what is missing, fit the law; an adaptive one round after round until it stops.

    Exit code 0; 2 if some experiments failed or diverged; 1 otherwise.
    """
    _run(study, until, train_anyway=train_anyway)


@main.command("import")
@click.argument("runs", type=click.Path(path_type=Path))
@STUDY
def import_runs(runs: Path, study: Path) -> None:
    """Take RUNS trained elsewhere (.csv, .json, .jsonl or a directory) as results of STUDY's experiments.

    A run is an experiment's if size, seed and, within 2 %, tokens agree. Results that are there stay. Exit code 0; 2 if
    some runs were left out, each with the reason; 1 otherwise.
    """
    from flops_fit_assets.commands.import_runs import print_import

    if not print_import(runs, study, home_directory(), _console()):
        click.get_current_context().exit(SOME_NOT_COMPLETED)


@main.command()
def demo() -> None:
    """Run the packaged study: 28 trainings on Python's own source code, about a minute on two cores."""
    _run(DEMO_STUDY)


@main.command()
@click.argument("runs", type=click.Path(path_type=Path))
@click.option(
    "--report",
    "report_path",
    type=click.Path(path_type=Path, dir_okay=False),
    help="File to write the report to.",
)
@click.option("--fix", multiple=True, help="What is known: E=1.69, or a range, alpha=0.3:0.4; may be repeated.")
@click.option("--units", help="Factors by column: num_params=1e6,num_tokens=1e9; 1 confirms a column as it is.")
@click.option("--columns", help="Which column is what, where its name does not say it: loss=val_loss,flops=C.")
@click.option("--metric", multiple=True, help="A column to predict from the loss, such as accuracy; may be repeated.")
@click.option("--eval-set", help="Of a study with several held-out sets, the one whose losses are fitted.")
def fit(
    runs: Path,
    report_path: Path | None,
    fix: tuple[str, ...],
    units: str | None,
    columns: str | None,
    metric: tuple[str, ...],
    eval_set: str | None,
) -> None:
    """Fit a scaling law to RUNS: a .csv, .json or .jsonl table, a directory of results, or a study file.

    Forecasts that `flops-fit forecast RUNS` made are scored by them. Of a study file the results that it has are taken,
    with their losses on its own held-out set or on another (--eval-set).
    """
    if runs.suffix == ".toml":
        _fit_study(
            runs, report_path, eval_set, {"--fix": fix, "--units": units, "--columns": columns, "--metric": metric}
        )
        return
    if eval_set is not None:
        raise click.UsageError(
            f"--eval-set {eval_set} is for a study file, such as study.toml; of a table give --columns "
            f"loss=loss_{eval_set}"
        )
    from flops_fit.report.report import write_report
    from flops_fit.results.results import load_runs
    from flops_fit.scaling_law import score_forecasts
    from flops_fit.scaling_law.fit import fit_scaling_law
    from flops_fit.scaling_law.fitting.held import from_text
    from flops_fit.scaling_law.from_loss.metric_law import with_metrics
    from flops_fit_assets.commands.forecast import folder_beside
    from flops_fit_assets.commands.named_values import factors, pairs

    try:
        law = fit_scaling_law(
            load_runs(runs), fix=from_text(fix), units=factors(units), columns=pairs(columns, "--columns")
        )
    except FileNotFoundError as error:
        raise click.ClickException(f"{runs} does not exist; give a table of runs or a directory of results") from error
    law = with_metrics(law, load_runs(runs), metric, columns=pairs(columns, "--columns"), units=factors(units))
    console = _console()
    console.print(law.summary(), highlight=False, markup=False, soft_wrap=True)
    forecasts = score_forecasts(folder_beside(runs), law.runs)
    written = write_report(law, report_path or runs.with_name(f"{runs.stem}_report.html"), forecasts=forecasts)
    for line in (*forecasts.record(), f"report: {written}"):
        console.print(line, highlight=False, markup=False, soft_wrap=True)


def _fit_study(study: Path, report_path: Path | None, eval_set: str | None, of_tables: Mapping[str, Any]) -> None:
    from flops_fit.report.report import write_report
    from flops_fit_assets.commands.fit_study import law_of_study

    given = [name for name, value in of_tables.items() if value]
    if given:
        raise click.UsageError(f"{given[0]} is for tables of runs; leave it out, or give the study's runs.csv")
    law, beside = law_of_study(study, eval_set)
    console = _console()
    console.print(law.summary(), highlight=False, markup=False, soft_wrap=True)
    console.print(f"report: {write_report(law, report_path or beside)}", highlight=False, markup=False, soft_wrap=True)


@main.command()
@click.argument("source", type=click.Path(path_type=Path))
@click.argument("compute", nargs=-1)
@click.option("--level", default=0.9, show_default=True, help="Of the intervals.")
@click.option("--folder", type=click.Path(path_type=Path), help="Of a table's or a law's forecasts, if it is another.")
def forecast(source: Path, compute: tuple[str, ...], level: float, folder: Path | None) -> None:
    """Seal what the law of SOURCE (a study file, a law, or a table of runs) says of budgets of COMPUTE FLOPs.

    Without COMPUTE, show all forecasts, scored by the runs that are there now. Exit code 0; 2 if one cannot be used;
    1 otherwise.
    """
    from flops_fit_assets.commands.forecast import print_forecast

    if not print_forecast(source, compute, level, folder, _console()):
        click.get_current_context().exit(SOME_NOT_COMPLETED)


@main.command()
@click.argument("runs", type=click.Path(path_type=Path))
@click.option("--target", type=float, required=True, help="FLOPs of the training that is asked about.")
@click.option("--flops", type=float, help="What may be spent on experiments; by default 10 times the largest run.")
@click.option("-n", "count", default=5, show_default=True, help="Experiments to suggest.")
@click.option("--quantity", default="both", show_default=True, help="What must be known: N_opt, loss or both.")
@click.option("--output", type=click.Path(path_type=Path, dir_okay=False), help="CSV file to write them to.")
def suggest(runs: Path, target: float, flops: float | None, count: int, quantity: str, output: Path | None) -> None:
    """Say what to train next, after RUNS (a table, a directory of results or a law), to know more at --target.

    Writes nothing without --output, whose column `loss` is to be filled in.
    """
    from flops_fit_assets.commands.suggest import print_suggestions

    print_suggestions(runs, target, flops, count, quantity, output, _console())


@main.command()
@click.argument("a", type=click.Path(path_type=Path))
@click.argument("b", type=click.Path(path_type=Path))
@click.option("--at", help="FLOPs to compare at: 1e21, or several, 1e21,1e22; by default 10 times the largest run.")
@click.option("--share", help="Of two tables, what is the same in both: alpha,beta or E,alpha,beta. Fitted together.")
@click.option("--plot", type=click.Path(path_type=Path, dir_okay=False), help="PNG file to draw both curves to.")
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON instead.")
def compare(a: Path, b: Path, at: str | None, share: str | None, plot: Path | None, as_json: bool) -> None:
    """Say which of A and B (laws, tables of runs, or study files) is the better at a compute, and how sure that is."""
    from flops_fit_assets.commands.compare import print_comparison

    print_comparison((a, b), at, share, plot, as_json, _console())


@main.command()
@STUDY
def report(study: Path) -> None:
    """Write the report of STUDY again from what has been fitted, and say where it is."""
    from flops_fit_assets.commands.plan import write_again

    click.echo(write_again(study))


@main.command()
@STUDY
@click.option("--port", default=3000, show_default=True, help="Port on this machine.")
@click.option(
    "--allow-host",
    multiple=True,
    envvar="FLOPS_FIT_ALLOW_HOST",
    help="Name that a proxy in front of the pages has in the browser, such as pages.example.com; may be repeated.",
)
def ui(study: Path, port: int, allow_host: tuple[str, ...]) -> None:
    """Open STUDY (default study.toml, else the demo) in Dagster: pages and daemon, on this machine only."""
    from flops_fit_assets.commands.ui import serve
    from flops_fit_assets.storage.remote import refuse_unusable, storage_url

    refuse_unusable(storage_url())
    if study == Path("study.toml") and not study.exists():
        study = DEMO_STUDY
    click.get_current_context().exit(serve(study, port, _console(), allow_host))


def _refuse_early(study: Path) -> None:
    """Read the study once before torch and Dagster are loaded: what is wrong with it is said in an instant."""
    from flops_fit.study.study import Study

    Study.from_toml(study)


def _run(study: Path, until: tuple[str, ...] = (), *, train_anyway: bool = False) -> None:
    _refuse_early(study)
    from flops_fit_assets.headless.study import run_study

    console = _console()
    outcome = run_study(study, home_directory(), console, until, train_anyway=train_anyway)
    _print_outcome(outcome, console)
    if outcome.not_completed:
        click.get_current_context().exit(SOME_NOT_COMPLETED)


def _print_outcome(outcome: Outcome, console: Console) -> None:
    console.print(outcome.law.summary(outcome.plan.target_budgets), highlight=False, markup=False, soft_wrap=True)
    lines = [what_ran(outcome.results, outcome.done)]
    if imported := sum(result.source == "imported" for result in outcome.results.values()):
        lines.append(f"{imported} of the {len(outcome.results)} experiments are imported")
    if outcome.rounds is not None:
        lines += rounds_lines(outcome.rounds)
    for line in (*lines, *outcome.forecasts.record(), f"report: {outcome.directory / 'report.html'}"):
        console.print(line, highlight=False, markup=False, soft_wrap=True)


def rounds_lines(rounds: Progress) -> list[str]:
    """How many rounds there were, what they cost, and why there is no further one."""
    count = len(rounds.rounds)
    return [f"{count} round{'' if count == 1 else 's'}, {rounds.spent.text(rounds.options)} spent", rounds.state()]


def what_ran(results: Mapping[str, ExperimentResult], done: Sequence[str]) -> str:
    """A line on the experiments: those run now (named in `done`), and those of earlier runs that have no loss."""
    now = [result for name, result in results.items() if name in set(done)]
    bad_now = [result for result in now if result.status != "completed"]
    bad_before = [result for name, result in results.items() if name not in set(done) and result.status != "completed"]
    said = (
        f"{_experiments(len(now))} run now: {len(now) - len(bad_now)} completed" if now else "nothing had to be trained"
    )
    if bad_now:
        said += f", {len(bad_now)} did not ({_statuses(bad_now)})"
    if bad_before:
        said += f"; {len(bad_before)} of earlier runs did not complete ({_statuses(bad_before)})"
    return f"{said}; the law is fitted without them" if bad_now or bad_before else said


def _experiments(count: int) -> str:
    return "1 experiment" if count == 1 else f"{count} experiments"


def _statuses(results: Iterable[ExperimentResult]) -> str:
    counts = Counter(result.status.replace("_", " ") for result in results)
    return ", ".join(f"{count} {status}" for status, count in sorted(counts.items()))


def _console() -> Console:
    from rich.console import Console

    return Console()


def start() -> None:
    """The command as typed: in a process that may crash, under another that says so."""
    from flops_fit_assets.commands import supervised

    supervised.start(main)


if __name__ == "__main__":
    start()
