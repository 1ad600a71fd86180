"""The fingerprints of a study's parts, also as they are now, read in a fresh process.

    python -m flops_fit_assets.freshness.fingerprints study.toml

A process that has imported the user's modules would not see that their source has changed.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from flops_fit.errors import FlopsFitError, StudyError

if TYPE_CHECKING:
    from flops_fit.study.study import Study

_SECONDS = 50  # Dagster gives a sensor sixty


PARTS = {
    "model": "The model: its source code (not its comments), arguments, and how it is counted.",
    "sweep": "Budgets, grid, data, loss and recipe: whatever the plan follows from besides the size map.",
}


def fingerprints(study: Study) -> dict[str, str]:
    """Part → hash of what it means, for each of `PARTS`."""
    return {"model": study.model_fingerprint(), "sweep": study.sweep_fingerprint()}


def fresh_fingerprints(path: Path) -> dict[str, str]:
    """`fingerprints` of the study file; raises `StudyError` where it is not valid."""
    command = [sys.executable, "-m", "flops_fit_assets.freshness.fingerprints", str(path)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry)}
    done = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, env=environment, check=False)
    if done.returncode != 0:
        raise StudyError(done.stderr.strip() or f"reading {path} ended with exit code {done.returncode}")
    return json.loads(done.stdout.splitlines()[-1])


def main(path: str) -> int:
    """Print the fingerprints as JSON, or the study's error."""
    from flops_fit.study.study import Study

    try:
        found = fingerprints(Study.from_toml(path))
    except FlopsFitError as error:
        print(error, file=sys.stderr)
        return 1
    print(json.dumps(found))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
