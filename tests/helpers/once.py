"""What a test session makes once, in whichever of its processes needs it first, for all of them to copy."""

import shutil
from pathlib import Path

from filelock import FileLock


def made_once(folder, name, make):
    """The directory `name` in `folder`, filled by `make(directory)` if no process has done so; not to be changed."""
    place, complete = Path(folder) / name, Path(folder) / f"{name}.complete"
    with FileLock(Path(folder) / f"{name}.lock"):
        if not complete.exists():
            shutil.rmtree(place, ignore_errors=True)  # what a process that failed left
            place.mkdir()
            make(place)
            complete.touch()
    return place
