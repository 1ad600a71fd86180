"""The training of an experiment that shares a trunk: from where others have left it, to its own branch, to its end.

Batches, order and rate of the trunk are functions of the steps done (`flops_fit.recipe.trunk_parts`), so the result is
to the bit that of a training from the beginning (CPU, same thread count), in whatever order experiments are trained.
One process extends a trunk at a time; who needs what it is making waits for that, and for no more.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, field

from filelock import FileLock, Timeout

from flops_fit.basics.files import write_text
from flops_fit.errors import DataError
from flops_fit.processes.alive import still_alive
from flops_fit.recipe.steps import BranchSteps, plan_steps
from flops_fit.sweep.experiment import Experiment
from flops_fit.training.loop import Clock, TrainingLoop
from flops_fit.training.rank_loop import RankLoop
from flops_fit.training.run_log import LOG_FILE
from flops_fit.training.trunk import Trunk, log_text

_POLL_SECONDS = 0.5


@dataclass(kw_only=True)
class TrunkLoop(TrainingLoop):
    """The loop of an experiment that branches from a trunk."""

    _held: FileLock | None = field(default=None, repr=False)

    def train(self) -> None:
        """All steps that are left; see `TrainingLoop.train`."""
        try:
            super().train()
        finally:
            self._let_go()

    @property
    def _branching(self) -> BranchSteps:
        assert isinstance(self.steps, BranchSteps)
        return self.steps

    @functools.cached_property
    def _trunk(self) -> Trunk:
        return Trunk.of(self.job.experiment, self.job.directory.parent)

    @functools.cached_property
    def _places(self) -> set[int]:
        """Steps at which the trunk is left: its own branch, and those of siblings on the way."""
        branches = {self._branching.branch, *map(self._branch_of, self.job.siblings)}
        return {step for step in branches if 0 < step <= self._branching.branch}

    def _branch_of(self, sibling: Experiment) -> int:
        try:
            steps = plan_steps(self.job.study.training, sibling, self.job.data.tokens_per_example)
        except DataError:  # of less than an example, which its own training says
            return 0
        assert isinstance(steps, BranchSteps)
        return steps.branch

    def _load_checkpoint(self) -> None:
        super()._load_checkpoint()
        if self.progress.step < self._branching.branch:
            if self._writes:
                self._wait_for_trunk()
            self._go_on_from_trunk()

    @property
    def _writes(self) -> bool:
        """Whether this process is alone, or the one of several that writes the files."""
        return self.job.ranks is None or self.job.ranks.is_main

    def _wait_for_trunk(self) -> None:
        """Until its branch has been reached by another process, or no other extends the trunk and this one may."""
        lock = self._trunk.lock()
        while self._branching.branch not in self._trunk.steps(self._branching.branch):
            try:
                lock.acquire(timeout=_POLL_SECONDS)
            except Timeout:
                still_alive()
                continue
            self._held = lock
            self._trunk.tidy()
            return

    def _go_on_from_trunk(self) -> None:
        for step in self._trunk.steps(self._branching.branch):
            if step <= self.progress.step:
                return
            found = self._trunk.go_on(step, self.model, self.optimizer)
            if found is not None:
                self.progress = found
                if self._writes:
                    write_text(self.job.directory / LOG_FILE, self._trunk.log_until(step))
                return

    def _keep(self, clock: Clock) -> None:
        if self.progress.step in self._places and self.progress.step not in self._trunk.steps(self.progress.step)[:1]:
            log = log_text(self.job.directory / LOG_FILE)
            self._trunk.leave(self.model, self.optimizer, self.progress, log)
        if self.progress.step >= self._branching.branch:
            self._let_go()
        super()._keep(clock)

    def _let_go(self) -> None:
        if self._held is not None:
            self._held.release()
            self._held = None


@dataclass(kw_only=True)
class TrunkRankLoop(RankLoop, TrunkLoop):
    """The same on several ranks, of which the main one waits for the trunk, and leaves it."""
