"""The `log.jsonl` of a run: about a hundred lines at fixed steps, however fast it was and however often resumed.

The first step is always there: its loss, before anything was learnt, is what a training has to improve on.
"""

from __future__ import annotations

import json
import warnings
from dataclasses import dataclass
from pathlib import Path

from flops_fit.basics.files import read_text, set_aside, write_text
from flops_fit.errors import FlopsFitWarning
from flops_fit.loss_curves.curves import LOG_FILE

_LINES = 100


@dataclass(frozen=True, kw_only=True)
class RunLog:
    """Lines of step, tokens, training loss, learning rate and seconds."""

    path: Path
    steps: int

    @classmethod
    def open(cls, directory: Path, steps: int, from_step: int) -> RunLog:
        """The log in `directory`, cut back to `from_step` where a training goes on from there."""
        path = directory / LOG_FILE
        kept = [line for line in _lines(path) if line["step"] <= from_step]
        write_text(path, "".join(json.dumps(line) + "\n" for line in kept))
        return cls(path=path, steps=steps)

    def write(self, step: int, tokens: int, loss: float, learning_rate: float, seconds: float) -> None:
        """Append a line if `step` is one of the about hundred that are logged (the first and the last always are)."""
        if step > 1 and step * _LINES // self.steps == (step - 1) * _LINES // self.steps:
            return
        line = {"step": step, "tokens": tokens, "loss": loss, "learning_rate": learning_rate, "seconds": seconds}
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")


def first_loss(directory: Path) -> float | None:
    """The training loss at the first step of the run in `directory`; None where no log has that step."""
    try:
        with (directory / LOG_FILE).open(encoding="utf-8") as file:
            line = json.loads(file.readline())
        return float(line["loss"]) if line["step"] == 1 else None
    except (FileNotFoundError, IsADirectoryError, ValueError, KeyError, TypeError, RecursionError):  # none, or not ours
        return None


def _lines(path: Path) -> list[dict[str, float]]:
    """The lines of a log; a damaged one is set aside with a warning, and has none."""
    if not path.exists():
        return []
    try:
        complete = read_text(path).split("\n")[:-1]  # a line without its end was cut by a kill
        lines = [json.loads(line) for line in complete]
        if all(isinstance(line, dict) and type(line.get("step")) is int for line in lines):
            return lines
    except (ValueError, RecursionError):  # of JSON; a `FileError` too
        pass
    kept = set_aside(path)
    warnings.warn(f"{path} is damaged; kept as {kept.name}, and begun again", FlopsFitWarning, stacklevel=3)
    return []
