"""One training of several that take their steps together: what is its own of a `TrainingLoop`."""

from __future__ import annotations

import functools
import warnings
from dataclasses import dataclass, replace

import torch

from flops_fit.errors import FlopsFitWarning
from flops_fit.training.checkpoint import save_checkpoint
from flops_fit.training.loop import TrainingLoop
from flops_fit.training.run_log import RunLog


@dataclass(kw_only=True)
class Member(TrainingLoop):
    """The loop of one training, whose steps others take for it."""

    log: RunLog | None = None

    @functools.cached_property
    def peak(self) -> float:
        """`peak_rate`, found once."""
        return self.peak_rate

    def take_up(self) -> None:
        """Go on from its own checkpoint where there is one that can be used."""
        self.log = self._take_up()
        self.model.train()

    @property
    def updates(self) -> int:
        """How many steps its optimizer has taken."""
        states = [state for part in self.optimizer.parts for state in part.state.values()]
        return int(states[0]["step"]) if states else 0

    @property
    def order(self) -> int:
        """The seed of the order in which it reads its examples."""
        return self.job.recipe.seed * 1_000_003 + self.job.experiment.seed

    def has_targets(self, batch: object) -> bool:
        """Whether any target of `batch` enters the loss; a batch without is skipped by a training."""
        return self._targets(batch) > 0

    def note(self, loss: float, factor: float, seconds: float, together: int) -> None:
        """Note a step that was taken together with others, of which `seconds` are its share in all."""
        step = self.progress.step
        self._advance(step, loss, seconds)
        if self.progress.stacked < together:
            self.progress = replace(self.progress, stacked=together)
        assert self.log is not None
        self.log.write(step + 1, self._tokens(), loss, self.peak * factor, seconds)

    def report(self, loss: float, factor: float) -> None:
        """Tell whoever watches how far it is."""
        self._tell(loss, self.peak * factor)

    def set_updates(self, count: int) -> None:
        """Have its optimizer know how many steps were taken for it."""
        for part in self.optimizer.parts:
            for state in part.state.values():
                state["step"] = torch.tensor(float(count), device=state["step"].device)

    def keep(self, factor: float) -> None:
        """Write its checkpoint, as it would itself. A disk that is full costs this one's progress, and no training."""
        self.optimizer.set_factor(factor)
        try:
            save_checkpoint(self._checkpoint, self.job.experiment, self.model, self.optimizer, self.progress)
        except OSError as error:
            message = f"{self.job.experiment.experiment_id}: no checkpoint could be written ({error})"
            warnings.warn(message, FlopsFitWarning, stacklevel=2)
