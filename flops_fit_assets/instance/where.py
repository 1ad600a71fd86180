"""Where everything of a person's studies is: `FLOPS_FIT_HOME`, or `flops_fit_data` in the working directory."""

from __future__ import annotations

import os
from pathlib import Path

from flops_fit.basics.arguments import FOLDER, need
from flops_fit.errors import FlopsFitError

HOME_VARIABLE = "FLOPS_FIT_HOME"
DEFAULT_HOME = "flops_fit_data"


def home_directory(given: str | os.PathLike[str] | None = None) -> Path:
    """The absolute path of the home, `given` or as the environment says; nothing is created.

    Raises `FlopsFitError` for a URL: a history and locks need a disk.
    """
    home = given if given is not None else os.environ.get(HOME_VARIABLE) or DEFAULT_HOME
    need("home" if given is not None else HOME_VARIABLE, home, FOLDER, FlopsFitError)
    return Path(home).resolve()
