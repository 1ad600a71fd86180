"""The training loop of one experiment on several ranks."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from flops_fit.basics.random_state import seed_everything
from flops_fit.data.nested import batch_size, slice_batch
from flops_fit.errors import DataError, StudyError
from flops_fit.training.loop import Clock, TrainingLoop
from flops_fit.training.mean_loss import doubt_of_mean
from flops_fit.training.ranks import Ranks
from flops_fit.training.run_log import RunLog


@dataclass(kw_only=True)
class RankLoop(TrainingLoop):
    """The loop of one process among several; `job.ranks` says which."""

    all_stop: bool = False  # after this step, as one of them was asked to
    tried: bool = False  # whether the loss is one that slices of a batch have their parts of

    @property
    def _is_to_stop(self) -> bool:
        return self.all_stop

    def held_out_loss(self, name: str = "", draws: int | None = None) -> float:
        """The main process's held-out loss, in every process."""
        return self._ranks.vote(super().held_out_loss(name, draws) if self._ranks.is_main else 0.0)

    def held_out_metrics(self, name: str = "") -> dict[str, float]:
        """The main process's metrics, in every process."""
        own = super().held_out_metrics(name) if self._ranks.is_main else {}
        return {metric: self._ranks.vote(own.get(metric, 0.0)) for metric in self.job.metrics}

    @property
    def _ranks(self) -> Ranks:
        assert self.job.ranks is not None
        return self.job.ranks

    def _take_up(self) -> RunLog:
        """The main process first, as it sets aside a checkpoint that cannot be used; then all from the same state."""
        ranks, log = self._ranks, RunLog(path=Path(os.devnull), steps=self.steps.steps)
        if ranks.is_main:
            log = super()._take_up()
        ranks.vote()
        if not ranks.is_main:
            self._load_checkpoint()
        begun = ranks.vote(self.progress.step if ranks.is_main else 0)
        if begun != self.progress.step:
            raise StudyError(
                f"the checkpoint is at step {self.progress.step} here and at step {begun:.0f} in the main process; "
                f"output_dir ({self.job.directory.parent}) must be one folder that all processes share"
            )
        ranks.vote()
        ranks.copy_from_main(value for value in self.model.state_dict().values() if isinstance(value, torch.Tensor))
        if not ranks.is_main:  # other dropout than in the main process
            seed_everything(self.job.recipe.seed, self.job.experiment.seed, ranks.rank, self.progress.step)
        return log

    def _is_skipped(self, batch: Any) -> bool:
        """Not by this process's batch: where data draws at random each has its own. All decide in `_gradients`."""
        return False

    def _gradients(self, batch: Any) -> float | None:
        if not self.tried:
            self._refuse_what_is_no_mean(batch)
            self.tried = True
        first, end = self._ranks.share(batch_size(batch))
        own = slice_batch(batch, first, end)
        targets = self._targets(own) if end > first else 0
        loss = (super()._gradients(own) or 0.0) * targets if targets else 0.0
        loss, of_all, stops = self._ranks.sums([loss, targets, super()._is_to_stop])
        self.all_stop = self.all_stop or stops > 0
        if of_all == 0:
            return None
        self._ranks.average_gradients(self.model.parameters(), targets / of_all)
        return loss / of_all

    def _refuse_what_is_no_mean(self, batch: Any) -> None:
        """Raise `DataError` for a loss that a slice of a batch has no part of, such as one against the rest of it."""
        if doubt := doubt_of_mean(self.model, batch, self.job.loss_fn):
            raise DataError(
                f"{doubt}. On several devices each has a slice of every batch, which would make it another loss: "
                "train on one (devices_per_training = 1 in [hardware])"
            )

    def _keep(self, clock: Clock) -> None:
        if self._ranks.is_main:
            super()._keep(clock)
        elif self.all_stop:
            raise self._interrupted()
