"""How long an optimizer step takes before any training is finished: as timed for a few of a plan, or guessed."""

from __future__ import annotations

import functools
import os
from dataclasses import asdict, dataclass, field
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

SCHEMA = "flops_fit.step_seconds/2"
FILE = ".step_seconds.json"  # hidden: of this machine, as locks are
_AS_GOOD = 1e-3  # relative error
OVERHEAD = {"cpu": 0.5e-3, "other": 5e-3}  # seconds of a step beside its FLOPs: calls, and the optimizer


@dataclass(frozen=True, kw_only=True)
class TimedStep:
    """One step: its units of data, its FLOPs, and the seconds that it took."""

    tokens: float
    flops: float
    seconds: float


@dataclass(frozen=True, kw_only=True)
class StepSeconds:
    """Steps that were timed, by `flops_fit.preflight`.

    Attributes:
        timed: a step of each of a few experiments of a plan, its smallest and its largest among them.
        device: that they ran on, in words.
        outcome: fingerprint of the study that they were of; edited, it may take longer.
        costs: seconds of a step, of a token and of a FLOP, learnt from `timed` where they are not given. They are kept,
            so that no training that tells how long it was said to take waits for SciPy.
    """

    timed: tuple[TimedStep, ...]
    device: str
    outcome: str
    costs: tuple[float, float, float] | None = field(default=None, compare=False)

    def seconds(self, tokens: float, flops: float) -> float:
        """Of a step of so many `tokens` and `flops`: some for each step, some per token and some per FLOP.

        A step costs something however small it is; small models are slow by their tokens, large ones by their FLOPs.
        """
        return self.total(1, tokens, flops)

    def total(self, steps: float, tokens: float, flops: float) -> float:
        """Of so many `steps` with so many `tokens` and `flops` together."""
        return sum(cost * of for cost, of in zip(self._costs, (steps, tokens, flops), strict=True))

    @functools.cached_property
    def _costs(self) -> tuple[float, float, float]:
        """None negative: least squares of relative errors, without seconds of a token where that is as good; of one
        timed step, seconds of a FLOP alone."""
        if self.costs is not None:
            return self.costs
        import numpy as np  # not on the way of what only shows help
        from scipy.optimize import nnls

        rows = np.array([[1.0, item.tokens, item.flops] for item in self.timed])
        rows /= np.array([item.seconds for item in self.timed])[:, None]
        units, ones = rows.max(axis=0), np.ones(len(rows))
        kept = ([0, 0, 1],) if len(rows) == 1 else ([1, 0, 1], [1, 1, 1])
        fits = [nnls(rows / units * terms, ones) for terms in kept]
        enough = min(error for _, error in fits) + _AS_GOOD * len(rows) ** 0.5
        found = next(costs for costs, error in fits if error <= enough)
        each_step, each_token, each_flop = (found / units).tolist()
        return each_step, each_token, each_flop

    def save(self, directory: Path) -> Path:
        """Keep them in a study's folder, of this machine."""
        return write_value(directory / FILE, {"schema": SCHEMA, **asdict(self), "costs": self._costs})

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
