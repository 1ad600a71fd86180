"""`flops-fit`: plan, check, run, import, fit, forecast, suggest, compare, ui, demo, ...; heavy imports come late."""

from __future__ import annotations

import click

from flops_fit_assets.terminal import on_runs, on_studies
from flops_fit_assets.terminal.group import ReadableGroup

COMMANDS = (
    on_studies.init,
    on_studies.plan,
    on_studies.check,
    on_studies.learning_rate,
    on_studies.run,
    on_studies.report,
    on_studies.ui,
    on_studies.demo,
    on_studies.import_runs,
    on_runs.fit,
    on_runs.forecast,
    on_runs.suggest,
    on_runs.compare,
)


@click.group(cls=ReadableGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="flops-fit")
def main() -> None:
    """How large a model, how many tokens, what loss: IsoFLOP studies of any PyTorch model class.

    Begin with `flops-fit init my_study`. Data and Dagster's history live in FLOPS_FIT_HOME (default: ./flops_fit_data),
    the data also in FLOPS_FIT_STORAGE.
    """


for command in COMMANDS:
    main.add_command(command)


def start() -> None:
    """The command as typed: in a process that may crash, under another that says so."""
    from flops_fit_assets.commands import supervised

    supervised.start(main)


if __name__ == "__main__":
    start()
