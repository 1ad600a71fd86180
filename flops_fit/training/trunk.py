"""The trunk of experiments of one size: its states where experiments leave it, and who may extend it.

In `<output_dir>/trunks/<trunk>/` there is one file for each place where an experiment has left the trunk, named by the
steps done: weights, optimizer and random state, as in a checkpoint. All of it can be made again, and may be deleted at
any time: what needs a state goes on from the nearest one before it, or begins anew, to the same result.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import torch
from filelock import FileLock

from flops_fit.basics.files import remove_temporary, write_text
from flops_fit.recipe.trunk_states import FOLDER, kept_steps
from flops_fit.results.finished import LOCK_FILE
from flops_fit.sweep.experiment import Experiment
from flops_fit.training.checkpoint import Progress, load_state, said_by_state, save_state
from flops_fit.training.optimizer import ScheduledOptimizer

SCHEMA = "flops_fit.trunk/1"


@dataclass(frozen=True, kw_only=True)
class Trunk:
    """The trunk that `experiment` branches from, as it is kept in `directory`."""

    directory: Path
    experiment: Experiment

    @classmethod
    def of(cls, experiment: Experiment, output_dir: Path) -> Trunk:
        """That of `experiment`, which has one and whose results are kept in `output_dir`."""
        return cls(directory=output_dir / FOLDER / experiment.trunk, experiment=experiment)

    def steps(self, until: int) -> list[int]:
        """Where it was left, in steps up to `until`, the latest first."""
        return sorted((step for step in kept_steps(self.directory) if step <= until), reverse=True)

    def log_until(self, step: int) -> str:
        """The lines of the log up to `step`; none where they are gone."""
        return log_text(self._log(step))

    def leave(self, model: torch.nn.Module, optimizer: ScheduledOptimizer, progress: Progress, log: str) -> None:
        """Keep the state after `progress`, and the lines of `log` before it, which are there once the state is."""
        write_text(self._log(progress.step), log)
        made_by = self._made_by(progress.step) | {"left_by": self.experiment.experiment_id}
        save_state(self._state(progress.step), made_by, model, optimizer, progress)

    def go_on(self, step: int, model: torch.nn.Module, optimizer: ScheduledOptimizer) -> Progress | None:
        """Put model and optimizer where the trunk was left after `step` steps; None where that cannot be used.

        What others had trained counts as taken over; see `flops_fit.training.checkpoint.load_checkpoint`.
        """
        path = self._state(step)
        found = load_state(path, self._made_by(step), model, optimizer, "the trunk is trained again")
        if found is None:
            return None
        is_own = said_by_state(path).get("left_by") == self.experiment.experiment_id
        if is_own:
            return found
        return replace(found, taken_over=found.examples, taken_steps=found.step, taken_seconds=found.seconds)

    def lock(self) -> FileLock:
        """Held by the one process that extends it."""
        self.directory.mkdir(parents=True, exist_ok=True)
        return FileLock(self.directory / LOCK_FILE)

    def tidy(self) -> None:
        """Remove what writes that were killed have left; only for who holds the lock."""
        remove_temporary(self.directory)

    def _state(self, step: int) -> Path:
        return self.directory / f"{step:09}.safetensors"

    def _log(self, step: int) -> Path:
        return self._state(step).with_suffix(".jsonl")

    def _made_by(self, step: int) -> dict[str, str]:
        return {"schema": SCHEMA, "trunk": self.directory.name, "step": str(step)}


def log_text(path: Path) -> str:
    """What a log has, "" where it is gone; bytes that are no text as signs that no line of a log has."""
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return ""
