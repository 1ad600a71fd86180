"""The loop: token-exact, its learning rate a pure function of progress, its data order of seed and position."""

from __future__ import annotations

import functools
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from flops_fit.basics.devices import autocast
from flops_fit.data.nested import batch_size, slice_batch, to_device
from flops_fit.data.study_data import StudyData
from flops_fit.data.targets import count_targets, ignored_target, shifts_labels
from flops_fit.errors import DataError, Diverged, Interrupted, TimedOut
from flops_fit.loss import LossFn, batch_loss, model_loss
from flops_fit.metrics import Metric
from flops_fit.processes.alive import still_alive
from flops_fit.processes.stop_requests import StopRequest
from flops_fit.recipe.recipe import Recipe
from flops_fit.recipe.steps import Steps
from flops_fit.training.batch_faults import explained, refuse_shifted_twice
from flops_fit.training.checkpoint import CHECKPOINT_FILE, Progress, load_checkpoint, save_checkpoint
from flops_fit.training.evaluation import held_out_loss, held_out_metrics
from flops_fit.training.failures import is_out_of_memory
from flops_fit.training.log_events import OnLog, step_event
from flops_fit.training.optimizer import ScheduledOptimizer
from flops_fit.training.run_log import RunLog

if TYPE_CHECKING:
    from flops_fit.study.study import Study
    from flops_fit.sweep.experiment import Experiment
    from flops_fit.training.ranks import Ranks

_LOG_SECONDS = 0.25


@dataclass(frozen=True, kw_only=True)
class Job:
    """One experiment of a study with all that training it needs."""

    study: Study
    experiment: Experiment
    data: StudyData
    loss_fn: LossFn
    directory: Path
    resume: bool
    ranks: Ranks | None = None  # where several processes train it together
    stop: StopRequest = field(default_factory=StopRequest)
    siblings: Sequence[Experiment] = ()  # still to be trained, that may go on from where this one leaves the trunk

    @functools.cached_property
    def recipe(self) -> Recipe:
        """The experiment's own."""
        return self.study.training.of(self.experiment)

    @property
    def metrics(self) -> Mapping[str, Metric]:
        """What is measured at the end besides the loss, by name."""
        return self.study.data.metrics if self.study.data else {}

    @property
    def peak(self) -> float | None:
        """FLOP/s of all devices that train it, where known."""
        peak = self.study.hardware.known_peak
        return peak if peak is None or self.ranks is None else peak * self.ranks.world_size


@dataclass(kw_only=True)
class TrainingLoop:
    """The steps of one training; `progress` says how far it has come, also after an error."""

    job: Job
    model: torch.nn.Module
    optimizer: ScheduledOptimizer
    steps: Steps
    device: torch.device
    on_log: OnLog | None
    progress: Progress = field(default_factory=Progress)
    largest_part: int | None = None  # examples that fit into memory at once, as far as found out

    @property
    def peak_rate(self) -> float:
        """The experiment's peak learning rate."""
        return self.job.recipe.peak_learning_rate(self.job.experiment)

    @property
    def highest_rate(self) -> float:
        """The learning rate at its highest, as results have it."""
        return self.peak_rate * self.steps.highest_factor

    @functools.cached_property
    def _parameters(self) -> list[torch.nn.Parameter]:
        """The model's parameters, gathered once: walking through its modules costs as much as a small layer."""
        return list(self.model.parameters())

    def train(self) -> None:
        """All steps that are left, from the checkpoint on where there is one."""
        job, recipe = self.job, self.job.recipe
        log = self._take_up()
        reader = job.data.train.reader(recipe.seed * 1_000_003 + job.experiment.seed, self.progress.examples)
        clock = Clock(already=self.progress.seconds)
        peak, last_finite = self.peak_rate, math.nan
        self.model.train()
        for step in range(self.progress.step, self.steps.steps):
            factor = self.steps.rate_factor(recipe, step)
            self.optimizer.set_second_beta(self.steps.second_beta(step))
            loss = self._step(reader.read(self.steps.end(step + 1) - self.steps.end(step)), factor)
            if loss is None:
                self._advance(step, None, clock.seconds())
                self._keep(clock)
                continue
            if not math.isfinite(loss):
                where = f"at step {step + 1} of {self.steps.steps}"
                raise Diverged(f"loss is {loss} {where}; the last finite one was {last_finite:.4g}")
            last_finite = loss
            self._advance(step, loss, clock.seconds())
            log.write(step + 1, self._tokens(), loss, peak * factor, self.progress.seconds)
            self._report(loss, peak * factor, clock)
            self._keep(clock)

    def rehearse(self, batch: Any) -> float:
        """One step at a learning rate of 0: all the work of a step, and the weights as before; returns the loss."""
        self.model.train()
        loss = self._step(batch, 0.0)
        if loss is None:
            raise DataError(f"the first batch has no target: all are {self._ignored}, which the loss leaves out")
        return loss

    def measured(self) -> dict[str, Any]:
        """What is measured at the end, as fields of `ExperimentResult`."""
        losses = {name: self.held_out_loss(name) for name in self.job.data.held_out_sets}
        metrics = {
            f"{metric}_{name}" if name else metric: value
            for name in (losses if self.job.metrics else ())
            for metric, value in self.held_out_metrics(name).items()
        }
        named = {} if "" in losses else losses
        measured_by = self.job.study.measured_by
        return {"loss": next(iter(losses.values())), "losses": named, "metrics": metrics, "measured_by": measured_by}

    def held_out_loss(self, name: str = "", draws: int | None = None) -> float:
        """The mean loss at the end on a held-out set; raises `Diverged` where it is not finite. `draws` of each example
        are as the study says, if not given."""
        job = self.job
        loss = held_out_loss(
            self.model,
            job.data.held_out_sets[name],
            job.loss_fn,
            job.recipe.eval_batch_examples,
            self.device,
            autocast(self.job.recipe.precision, self.device),
            draws or self.job.data.eval_draws,
        )
        if not math.isfinite(loss):
            where = f" on {name}" if name else ""
            raise Diverged(f"held-out loss{where} is {loss} after {self.steps.steps} steps")
        return loss

    def held_out_metrics(self, name: str = "") -> dict[str, float]:
        """The study's metrics on a held-out set, by name."""
        return held_out_metrics(
            self.model,
            self.job.data.held_out_sets[name],
            self.job.metrics,
            self.job.loss_fn,
            self.job.recipe.eval_batch_examples,
            self.device,
            autocast(self.job.recipe.precision, self.device),
            self.job.data.eval_draws,
        )

    def mean_tail_loss(self) -> float:
        """Mean training loss over the last tenth of the steps."""
        return self.progress.tail_loss_sum / (self.steps.steps - self.steps.tail_start)

    @property
    def _checkpoint(self) -> Path:
        return self.job.directory / CHECKPOINT_FILE

    def _take_up(self) -> RunLog:
        """Go on from the checkpoint where there is one; returns the log from there on."""
        self._load_checkpoint()
        return RunLog.open(self.job.directory, self.steps.steps, self.progress.step)

    def _load_checkpoint(self) -> None:
        if self.job.resume:
            found = load_checkpoint(self._checkpoint, self.job.experiment, self.model, self.optimizer)
            self.progress = found or Progress()

    def _advance(self, step: int, loss: float | None, seconds: float) -> None:
        """Note a step; one that was skipped counts in the tail as the mean of those before it."""
        still_alive()
        in_tail, before = step - self.steps.tail_start, self.progress.tail_loss_sum
        if loss is None:
            loss = before / in_tail if in_tail > 0 else 0.0
        self.progress = replace(
            self.progress,
            step=step + 1,
            examples=self.steps.end(step + 1),
            seconds=seconds,
            tail_loss_sum=before + (loss if in_tail >= 0 else 0.0),
        )

    def _keep(self, clock: Clock) -> None:
        """Before the last step, write a checkpoint when it is due; where time is up, write one and raise `TimedOut`.

        Where it was asked to stop it is `Interrupted`, at whatever step.
        """
        stops = self._is_to_stop
        if self.progress.step == self.steps.steps and not stops:
            return
        recipe = self.job.recipe
        limit = recipe.timeout_seconds
        is_over = limit is not None and clock.this_run() > limit
        if stops or is_over or clock.due("checkpoint", recipe.checkpoint_seconds):
            save_checkpoint(self._checkpoint, self.job.experiment, self.model, self.optimizer, self.progress)
        if stops:
            raise self._interrupted()
        if is_over:
            after = f"after timeout_seconds = {limit:g}"
            raise TimedOut(f"{self._place} was reached {after}; run again to go on from there")

    @property
    def _is_to_stop(self) -> bool:
        return self.job.stop.number is not None

    @property
    def _place(self) -> str:
        return f"step {self.progress.step} of {self.steps.steps}"

    def _interrupted(self) -> Interrupted:
        by = f"{self.job.stop.name} asked it to stop" if self.job.stop.number else "it was asked to stop"
        return Interrupted(f"{self._place} was reached when {by}; run again to go on from there")

    def _step(self, batch: Any, factor: float) -> float | None:
        """One optimizer step on `batch` at `factor` times the peak rates; returns its mean loss.

        A batch without any target, whose mean loss would be that of nothing, is skipped: None.
        """
        if self._is_skipped(batch):
            return None
        self.optimizer.set_factor(factor)
        self.optimizer.zero_grad()
        if self.progress.step == 0:
            refuse_shifted_twice(self.model, batch, self.job.loss_fn)
        with explained(self.model, batch, self.job.data.train.dataset):
            loss = self._gradients(to_device(batch, self.device))
        if loss is None:
            return None
        clip = self.job.recipe.gradient_clip
        if clip is not None:
            torch.nn.utils.clip_grad_norm_(self._parameters, clip)
        self.optimizer.step()
        return loss

    def _is_skipped(self, batch: Any) -> bool:
        return self._targets(batch) == 0

    def _gradients(self, batch: Any) -> float | None:
        """Accumulate the batch's gradient, in as few parts as memory allows; returns the mean loss.

        The first batch that does not fit is halved until it does, and so are all after it. Parts are weighted by their
        number of targets, so the result differs from the whole batch's by rounding alone.
        """
        total = batch_size(batch)
        while True:
            part = total if self.largest_part is None else min(total, self.largest_part)
            try:
                return self._accumulate(batch, total, part)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error) or part == 1:
                    raise
            self.largest_part = part // 2
            self.optimizer.zero_grad()
            if self.device.type == "cuda":
                torch.cuda.empty_cache()

    def _accumulate(self, batch: Any, total: int, part: int) -> float:
        loss_sum, targets = 0.0, self._targets(batch)
        for first in range(0, total, part):
            piece = batch if part == total else slice_batch(batch, first, first + part)
            share = 1.0 if part == total else self._targets(piece) / targets
            if share == 0:
                continue
            with autocast(self.job.recipe.precision, self.device):
                loss = batch_loss(self.model, piece, self.job.loss_fn)
            (loss if share == 1.0 else loss * share).backward()
            loss_sum += loss.item() * share
        return loss_sum

    @functools.cached_property
    def _ignored(self) -> int:
        return ignored_target(self.job.loss_fn)

    def _targets(self, batch: Any) -> int:
        """How many targets of `batch` enter its loss."""
        shifted = self.job.loss_fn is model_loss and shifts_labels(self.model)
        return count_targets(batch, self._ignored, shifted=shifted)

    def _tokens(self) -> int:
        return round(self.progress.examples * self.job.data.tokens_per_example)

    def _report(self, loss: float, rate: float, clock: Clock) -> None:
        at_end = self.progress.step == self.steps.steps
        if self.on_log is not None and (clock.due("report", _LOG_SECONDS) or at_end):
            self._tell(loss, rate)

    def _tell(self, loss: float, rate: float) -> None:
        """Whoever watches, how far it is."""
        if self.on_log is None:
            return
        self.on_log(
            step_event(
                self.job.experiment,
                step=self.progress.step,
                steps=self.steps.steps,
                tokens=self._tokens(),
                loss=loss,
                learning_rate=rate,
                seconds=self.progress.seconds,
                peak=self.job.peak,
                trunk_tokens=round(self.progress.taken_over * self.job.data.tokens_per_example),
            )
        )


class Clock:
    """Seconds of training, those before an interruption included, and what is due by time."""

    def __init__(self, already: float) -> None:
        self._start = time.perf_counter() - already
        self._last: dict[str, float] = {}
        self._begin = already

    def seconds(self) -> float:
        """All seconds of training so far."""
        return time.perf_counter() - self._start

    def this_run(self) -> float:
        """Seconds since this process took up the training."""
        return self.seconds() - self._begin

    def due(self, what: str, interval: float) -> bool:
        """Whether `what` was last due at least `interval` seconds ago; if so, that starts anew."""
        now = self.seconds()
        if now - self._last.get(what, self._begin) < interval:
            return False
        self._last[what] = now
        return True
