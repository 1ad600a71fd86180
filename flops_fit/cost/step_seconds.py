"""How long an optimizer step takes before any training is finished: as timed at both ends of a plan, or guessed."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from flops_fit.basics.files import read_value, write_value
from flops_fit.basics.from_json import from_json
from flops_fit.cost.hardware import Hardware
from flops_fit.errors import FileError
from flops_fit.recipe.steps import plan_steps

if TYPE_CHECKING:
    from flops_fit.recipe.recipe import Recipe
    from flops_fit.sweep.experiment import Experiment

SCHEMA = "flops_fit.step_seconds/1"
FILE = ".step_seconds.json"  # hidden: of this machine, as locks are
OVERHEAD = {"cpu": 0.5e-3, "other": 5e-3}  # seconds of a step beside its FLOPs: calls, and the optimizer


@dataclass(frozen=True, kw_only=True)
class StepSeconds:
    """Steps that were timed, by `flops_fit.preflight`.

    Attributes:
        timed: FLOPs of a step, and its seconds, of the smallest and the largest experiment of a plan.
        device: that they ran on, in words.
        outcome: fingerprint of the study that they were of; edited, it may take longer.
    """

    timed: tuple[tuple[float, float], ...]
    device: str
    outcome: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "timed", tuple(sorted((float(flops), float(took)) for flops, took in self.timed)))

    def seconds(self, flops: float) -> float:
        """Of a step of `flops`: linear between those timed, as slow as the smallest below it, in proportion above.

        A step costs its overhead however small it is, and no less than its FLOPs however large.
        """
        (low, low_seconds), (high, high_seconds) = self.timed[0], self.timed[-1]
        if flops <= low:
            return low_seconds
        if flops >= high:
            return high_seconds * flops / high
        return low_seconds + (high_seconds - low_seconds) * (flops - low) / (high - low)

    def save(self, directory: Path) -> Path:
        """Keep them in a study's folder, of this machine."""
        return write_value(directory / FILE, {"schema": SCHEMA, **asdict(self)})

    @classmethod
    def load(cls, directory: str | os.PathLike[str], outcome: str) -> StepSeconds | None:
        """Those kept in `directory`; None where there are none, of the study as it is now, that can be read."""
        try:
            found = read_value(
                Path(directory) / FILE, SCHEMA, lambda content: from_json(cls, content, without=["schema"])
            )
        except (FileNotFoundError, FileError):  # they are timed again for the asking
            return None
        return found if found.outcome == outcome else None


def overhead(hardware: Hardware) -> float:
    """Seconds that a step takes at least on such a device, roughly."""
    is_cpu = hardware.accelerator is None and hardware.device in ("auto", "cpu")
    return OVERHEAD["cpu" if is_cpu else "other"]


def steps_of(experiment: Experiment, recipe: Recipe, tokens_per_example: float) -> int:
    """Optimizer steps of an experiment; one where its tokens are less than an example, which training refuses."""
    if experiment.num_tokens < tokens_per_example:
        return 1
    return plan_steps(recipe, experiment, tokens_per_example).steps
