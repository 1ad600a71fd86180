"""Where everything of a person's studies is: `FLOPS_FIT_HOME`, or `flops_fit_data` in the working directory."""

from __future__ import annotations

import os
from pathlib import Path

HOME_VARIABLE = "FLOPS_FIT_HOME"
DEFAULT_HOME = "flops_fit_data"


def home_directory() -> Path:
    """The absolute path of the home; nothing is created."""
    return Path(os.environ.get(HOME_VARIABLE) or DEFAULT_HOME).resolve()
