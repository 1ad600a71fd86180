"""The fingerprints of a study's parts, also as they are now, read in a fresh process.

    python -m flops_fit_assets.freshness.fingerprints study.toml [directory [made_from]]

A process that has imported the user's modules would not see that their source has changed. With the study's `directory`
it says too what planning anew does to the plan there, `made_from` being what the size map there was made from.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flops_fit.errors import FlopsFitError, StudyError

if TYPE_CHECKING:
    from flops_fit.study.study import Study

_SECONDS = 50  # Dagster gives a sensor sixty


PARTS = {
    "model": "The model: its source code (not its comments), arguments, and how it is counted.",
    "sweep": "Budgets, grid, data, loss and recipe: whatever the plan follows from besides the size map.",
}


@dataclass(frozen=True, kw_only=True)
class Reading:
    """A study as it was read.

    Attributes:
        versions: part → fingerprint, for each of `PARTS`.
        settings: as of `flops_fit_assets.freshness.settings.settings_of`.
        effect: what planning anew does to the plan that is there; "" where that is not known.
    """

    versions: Mapping[str, str]
    settings: Mapping[str, Any]
    effect: str = ""


def fingerprints(study: Study) -> dict[str, str]:
    """Part → hash of what it means, for each of `PARTS`."""
    return {"model": study.model_fingerprint(), "sweep": study.sweep_fingerprint()}


def read_anew(path: Path, directory: Path | None = None, made_from: str | None = None) -> Reading:
    """The study file as it is now; raises `StudyError` where it is not valid, or a budget of it admits no size."""
    command = [sys.executable, "-m", "flops_fit_assets.freshness.fingerprints", str(path)]
    command += [str(directory), *([made_from] if made_from else [])] if directory else []
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry)}
    done = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, env=environment, check=False)
    if done.returncode != 0:
        raise StudyError(done.stderr.strip() or f"reading {path} ended with exit code {done.returncode}")
    return Reading(**json.loads(done.stdout.splitlines()[-1]))


def _read(path: str, directory: str | None = None, made_from: str | None = None) -> Reading:
    from flops_fit.study.study import Study
    from flops_fit_assets.freshness.changes import effect_on_plan
    from flops_fit_assets.freshness.settings import settings_of
    from flops_fit_assets.freshness.versions import size_map_made_from

    study = Study.from_toml(path)
    same_sizes = size_map_made_from(study) == made_from
    effect = effect_on_plan(study, Path(directory), same_sizes=same_sizes) if directory else ""
    return Reading(versions=fingerprints(study), settings=settings_of(study), effect=effect)


def main(*arguments: str) -> int:
    """Print the reading as JSON, or the study's error."""
    try:
        found = _read(*arguments)
    except FlopsFitError as error:
        print(error, file=sys.stderr)
        return 1
    print(json.dumps(asdict(found)))
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
