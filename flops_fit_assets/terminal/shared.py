"""What several commands share: the study that they are about, where they speak, and their exit codes."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from flops_fit.study.missing import STUDY_FILE

_WIDTH_OF_FILES = 240  # of a table, in signs, where no terminal shows it

if TYPE_CHECKING:
    from rich.console import Console


class StudyPath(click.Path):
    """The path of a study file; of a folder with a study.toml, that file."""

    def __init__(self) -> None:
        super().__init__(path_type=Path)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The path meant."""
        path = Path(os.fsdecode(super().convert(value, param, ctx)))
        return path / STUDY_FILE if self.is_of_a_study(path) else path

    def is_of_a_study(self, path: Path) -> bool:
        """Whether the folder at `path` stands for its study."""
        return (path / STUDY_FILE).is_file()


class SourcePath(StudyPath):
    """What has runs or a law: as it is, but a folder that has neither, and a study.toml, stands for its study."""

    def is_of_a_study(self, path: Path) -> bool:
        """Whether it has no results of its own."""
        return super().is_of_a_study(path) and not any(path.glob("*/result.json"))


STUDY = click.argument("study", type=StudyPath(), default=Path(STUDY_FILE))
JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON instead, and nothing else, to stdout.")
SOME_NOT_COMPLETED = 2


def reading_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds the options that say how a table is read, which the command gets as `reading`."""

    @click.option("--units", help="Factors by column: num_params=1e6,num_tokens=billions,flops=log10. 1 confirms one.")
    @click.option("--columns", help="Which column is what: loss=val_loss,flops=C. status=none is for none.")
    @click.option("--loss-kind", help="What the losses are: nats, bits, bits-per-byte, perplexity, log-likelihood, "
                                      "accuracy, reward or other.")  # fmt: skip
    @click.option("--loss-offset", type=float, default=0.0, help="Added to losses, which must be above 0 then.")
    @wraps(command)
    def with_reading(
        *, units: str | None, columns: str | None, loss_kind: str | None, loss_offset: float, **options: Any
    ) -> Any:
        from flops_fit_assets.commands.reading import Reading

        reading = Reading(units=units, columns=columns, loss_kind=loss_kind, loss_offset=loss_offset)
        return command(reading=reading, **options)

    return with_reading


def console() -> Console:
    """Where a command prints its results: a terminal at its width, else tables as wide as they are."""
    from rich.console import Console

    found = Console()
    return found if found.is_terminal or "COLUMNS" in os.environ else Console(width=_WIDTH_OF_FILES)


def refuse_early(study: Path) -> bool:
    """Read the study once before torch and Dagster are loaded: what is wrong with it is said in an instant.

    Returns whether it is several studies, the values of [sweep.vary].
    """
    from flops_fit.study.study import Study
    from flops_fit.study.study_file import varied

    found = varied(study)
    for path in found[1].values() if found else [study]:
        Study.from_toml(path)
    return found is not None
