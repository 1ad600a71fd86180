"""The commands about a study file: init, plan, check, learning-rate, run, demo, report, ui, import."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from flops_fit_assets.instance.home import DEMO_STUDY
from flops_fit_assets.instance.where import home_directory
from flops_fit_assets.terminal.exampled import ExampledCommand
from flops_fit_assets.terminal.shared import JSON, SOME_NOT_COMPLETED, STUDY, console, reading_options, refuse_early

if TYPE_CHECKING:
    from flops_fit_assets.commands.reading import Reading


@click.command(
    cls=ExampledCommand,
    example="flops-fit init my_study --template gpt",
    short_help="Write a study to begin from: its file, model and data.",
)
@click.argument("directory", type=click.Path(path_type=Path, file_okay=False), default=Path())
@click.option("--template", default="mlp", show_default=True, help="What to begin from; `--template list` names them.")
def init(directory: Path, template: str) -> None:
    """Write a study to begin from into DIRECTORY (default: this one): study.toml with every key, model and data."""
    from flops_fit_assets.commands.init import TEMPLATES, init_study

    if template != "list" and template not in TEMPLATES:
        raise click.BadParameter(
            f"{template!r} is none of {', '.join(TEMPLATES)}; `flops-fit init --template list` says what each is",
            param_hint="--template",
        )
    if template == "list":
        click.echo("\n".join(f"  {name:<12} {item.about}" for name, item in TEMPLATES.items()))
        return
    click.echo("\n".join(init_study(directory, template)))


@click.command(
    cls=ExampledCommand,
    example="flops-fit plan study.toml --budgets 1e9,1e10",
    short_help="Show what would be trained, and what it costs.",
)
@STUDY
@click.option("--budgets", help="Compute budgets in FLOPs to plan with instead of the file's: 1e9,1e10. A what-if.")
@JSON
def plan(study: Path, budgets: str | None, as_json: bool) -> None:
    """Show what STUDY (default: study.toml) would train and what that costs.

    Nothing is trained, and the file stays as it is.
    """
    if refuse_early(study):
        from flops_fit_assets.commands.varied import print_plans

        print_plans(study, console(), budgets, as_json=as_json)
        return
    from flops_fit_assets.commands.plan import print_plan

    print_plan(study, console(), budgets, as_json=as_json)


@click.command(
    cls=ExampledCommand, example="flops-fit check study.toml", short_help="Take a few steps at both ends of the grid."
)
@STUDY
@JSON
def check(study: Path, as_json: bool) -> None:
    """Take a few steps of STUDY (default: study.toml) at its smallest and largest size.

    It shows what fails and how long the trainings take, which `plan` and `run` know from then on. Exit code 0, or 1 if
    anything fails.
    """
    is_varied = refuse_early(study)
    from flops_fit_assets.commands.check import print_preflight
    from flops_fit_assets.commands.varied import check_each

    if not (check_each if is_varied else print_preflight)(study, console(), as_json=as_json):
        click.get_current_context().exit(1)


@click.command(
    "learning-rate",
    cls=ExampledCommand,
    example="flops-fit learning-rate study.toml",
    short_help="Check the recipe's learning rate at both ends.",
)
@STUDY
def learning_rate(study: Path) -> None:
    """Train both ends of the cheapest budget of STUDY (default: study.toml) at five learning rates.

    It says whether the recipe's rate is right.
    """
    refuse_early(study)
    from flops_fit_assets.commands.check import print_learning_rate

    print_learning_rate(study, console())


@click.command(
    cls=ExampledCommand, example="flops-fit run study.toml", short_help="Train what is missing and fit the law."
)
@STUDY
@click.option(
    "--until",
    multiple=True,
    help="What an adaptive study must know, instead of what its file says: N_opt=1.2 (within that factor) or loss=0.01 "
    "(within that share of it). It may be given for both.",
)
@click.option(
    "--train-anyway", is_flag=True, help="Train also what is too little for a law, which is refused otherwise."
)
def run(study: Path, until: tuple[str, ...], train_anyway: bool) -> None:
    """Bring STUDY (default: study.toml) up to date: train what is missing and fit the law.

    An adaptive study goes on round after round until it stops. Exit code 0; 2 if some experiments failed or diverged;
    1 otherwise.
    """
    _run(study, until, train_anyway=train_anyway)


@click.command(short_help="Run the packaged study, a minute and a half.")
def demo() -> None:
    """Run the packaged study: 28 trainings on Python's own source code, a minute and a half on two cores."""
    _run(DEMO_STUDY)


@click.command(
    cls=ExampledCommand,
    example="flops-fit report study.toml",
    short_help="Write the report again from what has been fitted.",
)
@STUDY
def report(study: Path) -> None:
    """Write the report of STUDY (default: study.toml) again from what has been fitted, and say where it is."""
    from flops_fit_assets.commands.plan import write_again
    from flops_fit_assets.commands.varied import varies, write_all_again

    click.echo("\n".join(map(str, write_all_again(study) if varies(study) else [write_again(study)])))


@click.command(
    cls=ExampledCommand,
    example="flops-fit ui study.toml --port 3001",
    short_help="Open the study in Dagster, in the browser.",
)
@STUDY
@click.option("--port", default=3000, show_default=True, help="Port on this machine.")
@click.option(
    "--allow-host",
    multiple=True,
    envvar="FLOPS_FIT_ALLOW_HOST",
    help="Name that a proxy in front of the pages has in the browser, such as pages.example.com. It may be repeated.",
)
def ui(study: Path, port: int, allow_host: tuple[str, ...]) -> None:
    """Open STUDY (default: study.toml, else the demo) in Dagster: pages and daemon, on this machine only."""
    from flops_fit_assets.commands.ui import serve
    from flops_fit_assets.storage.remote import refuse_unusable, storage_url

    refuse_unusable(storage_url())
    if study == Path("study.toml") and not study.exists():
        study = DEMO_STUDY
    click.get_current_context().exit(serve(study, port, console(), allow_host))


@click.command(
    "import",
    cls=ExampledCommand,
    example="flops-fit import runs.csv study.toml",
    short_help="Take runs trained elsewhere as a study's results.",
)
@click.argument("runs", type=click.Path(path_type=Path))
@STUDY
@click.option("--replace", is_flag=True, help="Put these in the place of results that were imported before.")
@reading_options
def import_runs(runs: Path, study: Path, replace: bool, reading: Reading) -> None:
    """Take RUNS trained elsewhere, a table as `flops-fit fit` reads it, as results of the experiments of STUDY.

    A run is an experiment's if size, seed and, within 2 %, tokens agree. Results that are there stay, without
    --replace. Exit code 0; 2 if some runs were left out, each with the reason; 1 otherwise.
    """
    from flops_fit_assets.commands.import_runs import print_import

    if not print_import(runs, study, home_directory(), console(), reading, replace=replace):
        click.get_current_context().exit(SOME_NOT_COMPLETED)


def _run(study: Path, until: tuple[str, ...] = (), *, train_anyway: bool = False) -> None:
    is_varied, where = refuse_early(study), console()
    from flops_fit_assets.commands.outcome import print_outcome
    from flops_fit_assets.commands.varied import run_and_print_each
    from flops_fit_assets.headless.study import run_study

    if is_varied:
        completed = run_and_print_each(study, home_directory(), where, until, train_anyway=train_anyway)
    else:
        outcome = run_study(study, home_directory(), where, until, train_anyway=train_anyway)
        print_outcome(outcome, where)
        completed = not outcome.not_completed
    if not completed:
        click.get_current_context().exit(SOME_NOT_COMPLETED)
