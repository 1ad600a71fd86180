"""What several commands share: the study that they are about, where they speak, and their exit codes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from rich.console import Console

STUDY = click.argument("study", type=click.Path(path_type=Path), default=Path("study.toml"))
JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON instead, and nothing else, to stdout.")
SOME_NOT_COMPLETED = 2


def console() -> Console:
    """Where a command prints its results."""
    from rich.console import Console

    return Console()


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
