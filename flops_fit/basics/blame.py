"""An exception of the user's code in one line: what it says, and where it was raised."""

from __future__ import annotations

import traceback
from pathlib import Path

_OWN = Path(__file__).parents[1]
_LONGEST = 300  # characters


def said_by(error: BaseException) -> str:
    """Such as `"ValueError: too few files (my_data.py, line 12)"`; a syntax error names its place itself."""
    lines = str(error).strip().splitlines()
    text = f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
    if len(text) > _LONGEST:
        text = f"{text[:_LONGEST]} …"
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if _is_users(frame.filename)]
    if frames and not isinstance(error, SyntaxError):
        text += f" ({Path(frames[-1].filename).name}, line {frames[-1].lineno})"
    return "".join(sign if sign.isprintable() else ascii(sign)[1:-1] for sign in text)


def _is_users(file: str) -> bool:
    path = Path(file)
    ours = _OWN in path.parents and _OWN / "examples" not in path.parents
    return not (ours or file.startswith("<"))
