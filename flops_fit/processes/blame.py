"""An exception of the user's code in one line: what it says, and where it was raised."""

from __future__ import annotations

import traceback
from pathlib import Path

from flops_fit.basics.formatting import safe_text
from flops_fit.identity.origin import is_users_file

_LONGEST = 300  # characters


def said_by(error: BaseException) -> str:
    """Such as `"ValueError: too few files (my_data.py, line 12)"`; a syntax error names its place itself."""
    lines = str(error).strip().splitlines()
    text = safe_text(f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__, _LONGEST)
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if is_users_file(frame.filename)]
    if frames and not isinstance(error, SyntaxError):
        text += f" ({Path(frames[-1].filename).name}, line {frames[-1].lineno})"
    return text
