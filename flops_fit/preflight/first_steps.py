"""A few steps of one experiment, taken as training would take them, and everything that fails in them."""

from __future__ import annotations

import dataclasses
import gc
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any, TypeVar

import torch

from flops_fit.basics.devices import choose_device
from flops_fit.basics.formatting import format_bytes, format_count
from flops_fit.basics.memory import ram_bytes
from flops_fit.cost.estimate import peak_memory
from flops_fit.data.batches import Examples
from flops_fit.data.nested import to_device
from flops_fit.data.study_data import StudyData
from flops_fit.errors import Diverged, StudyError
from flops_fit.preflight.held_out_draws import doubt_of_draws
from flops_fit.preflight.left_out import doubt_of_targets
from flops_fit.processes.process_state import process_state_kept
from flops_fit.tables.losses import offset_for, why_no_law
from flops_fit.training.evaluation import refuse_endless
from flops_fit.training.failures import describe_failure
from flops_fit.training.loop import Job, TrainingLoop
from flops_fit.training.mean_loss import doubt_of_mean
from flops_fit.training.optimizer import make_optimizer, refuse_fixed_rates
from flops_fit.training.optimizer_state import put_back, taken_apart
from flops_fit.training.training_run import prepare_loop

if TYPE_CHECKING:
    from flops_fit.study.study import Study
    from flops_fit.sweep.experiment import Experiment

Result = TypeVar("Result")
_FEWEST_STEPS, _MOST_STEPS = 3, 40
_WARM_UP = 3  # steps to one that tells nothing: the first load kernels and allocate
_SOME_SECONDS, _ENOUGH_SECONDS = 1.0, 10.0  # what the steps after the fewest, and all, may take
_READS = 5


@dataclass(frozen=True, kw_only=True)
class Trial:
    """A few steps of one experiment.

    Attributes:
        problems: everything that failed, each with the stage it failed in; empty where all went well.
        batch_examples: examples in one optimizer step, in the mean of all.
        part_examples: examples that fit into memory at once, where the batch had to be split.
        initial_loss: of the first batch, with the weights as initialised.
        seconds_per_step: of a step once warm, the reading of its batch included; None where none was completed.
        memory_bytes: peak during training and held-out step: measured on a GPU, estimated from the plan on a CPU.
        doubts: what failed nowhere but may not be what is meant.
    """

    experiment: Experiment
    problems: tuple[str, ...] = ()
    batch_examples: int | None = None
    part_examples: int | None = None
    initial_loss: float | None = None
    seconds_per_step: float | None = None
    memory_bytes: float | None = None
    doubts: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """`"width=8 (92 parameters)"`."""
        item = self.experiment
        return f"{item.size_text} ({format_count(item.num_params)} parameters)"


class _Stages:
    """Runs one stage after the other and keeps what fails."""

    def __init__(self) -> None:
        self.problems: list[str] = []

    def run(self, stage: str, work: Callable[[], Result]) -> Result | None:
        """What `work` returns; None where it fails."""
        try:
            return work()
        except (Exception, SystemExit) as error:  # whatever the user's own code raises is what this is here to find
            status, reason = describe_failure(error)
            self.problems.append(f"{stage}: {reason}" if status == "failed" else f"{stage}: {status}: {reason}")
            return None


def try_in_worker(experiment: Experiment, emit: Any, study: Study) -> Trial:
    """`try_experiment` as a task of a worker process; see `flops_fit.processes.workers.WorkerPool`."""
    _ = study.prepared_data, study.loss_function  # what opening them changes in the process is for all trainings
    return try_experiment(study, experiment, choose_device(study.hardware.device))


def try_experiment(study: Study, experiment: Experiment, device: torch.device) -> Trial:
    """Build the model, take a few optimizer steps at a learning rate of 0 and one held-out step; never raises."""
    stages = _Stages()
    _reset_memory(device)
    try:
        with process_state_kept():
            return _try(study, experiment, device, stages)
    finally:
        _reset_memory(device)


def _try(study: Study, experiment: Experiment, device: torch.device, stages: _Stages) -> Trial:
    if stages.run("memory", lambda: _check_memory(study, experiment, device)) is None:
        return Trial(experiment=experiment, problems=tuple(stages.problems))
    loop = stages.run("building model and optimizer", lambda: _loop(study, experiment, device))
    if loop is None:
        return Trial(experiment=experiment, problems=tuple(stages.problems))
    batch = stages.run("reading training data", lambda: _first_batch(loop))
    timed = None if batch is None else stages.run("training step", lambda: _rehearse(loop, batch))
    reading = None if timed is None else stages.run("reading training data", lambda: _reading_seconds(loop))
    doubts = _doubts_of_loss(study, loop, to_device(batch, device)) if timed else []
    stages.run("optimizer", lambda: _check_optimizer(loop))
    held_out = stages.run("reading held-out data", lambda: _with_one_held_out_batch(loop))
    if held_out is not None:
        loop.job = dataclasses.replace(loop.job, data=held_out)
        measured = stages.run("held-out step", lambda: _check_losses(loop.measured()))
        doubts += [stages.run("held-out step", lambda: doubt_of_draws(loop))] if measured else []
    return Trial(
        experiment=experiment,
        problems=tuple(stages.problems),
        batch_examples=loop.steps.mean_examples,
        part_examples=loop.largest_part,
        initial_loss=timed[0] if timed else None,
        seconds_per_step=None if timed is None or reading is None else timed[1] + reading,
        memory_bytes=_memory(study, experiment, device),
        doubts=tuple(filter(None, doubts)),
    )


def _loop(study: Study, experiment: Experiment, device: torch.device) -> TrainingLoop:
    data, loss_fn = study.prepared_data, study.loss_function
    assert data is not None
    assert loss_fn is not None
    nowhere = Path()  # only `TrainingLoop.train` writes
    job = Job(study=study, experiment=experiment, data=data, loss_fn=loss_fn, directory=nowhere, resume=False)
    return prepare_loop(job, device, None)


def _reader(loop: TrainingLoop) -> Any:
    return loop.job.data.train.reader(loop.job.recipe.seed * 1_000_003 + loop.job.experiment.seed)


def _first_batch(loop: TrainingLoop) -> Any:
    return _reader(loop).read(loop.steps.mean_examples)


def _reading_seconds(loop: TrainingLoop) -> float:
    """What reading the batch of a step takes; the first is left out, with which the data is opened."""
    reader, seconds = _reader(loop), []
    for _ in range(min(_READS, loop.steps.steps)):
        begin = time.perf_counter()
        reader.read(loop.steps.mean_examples)
        seconds.append(time.perf_counter() - begin)
        if sum(seconds) > _ENOUGH_SECONDS:
            break
    return median(seconds[1:] or seconds)


def _rehearse(loop: TrainingLoop, batch: Any) -> tuple[float, float]:
    """Loss of the first step, and seconds of one once warm, the median of those after a third of them.

    Raises `Diverged` where a loss or gradient is not finite.
    """
    losses: list[float] = []
    seconds: list[float] = []
    while _goes_on(seconds):
        _synchronise(loop.device)
        begin = time.perf_counter()
        losses.append(loop.rehearse(batch))
        _synchronise(loop.device)
        seconds.append(time.perf_counter() - begin)
        if not math.isfinite(losses[-1]):
            what = "loss of the first batch" if len(losses) == 1 else "gradient of the first batch"
            value = f" ({losses[0]})" if len(losses) == 1 else ""
            raise Diverged(f"the {what} is not finite{value}; check the model's initial weights and the loss")
    return losses[0], median(seconds[max(min(len(seconds) - 1, 1), len(seconds) // _WARM_UP) :])


def _goes_on(seconds: list[float]) -> bool:
    """Whether another step is worth its time: at least a few, then many of those that take no time."""
    took = sum(seconds)
    if took >= _ENOUGH_SECONDS or len(seconds) >= _MOST_STEPS:
        return False
    return len(seconds) < _FEWEST_STEPS or took < _SOME_SECONDS


def _check_optimizer(loop: TrainingLoop) -> None:
    """Raise `StudyError` where its rates do not follow the recipe's, or a checkpoint cannot keep its state."""
    recipe, peak = loop.job.recipe, loop.peak_rate
    if callable(recipe.optimizer):
        refuse_fixed_rates(loop.optimizer, loop.model, recipe, loop.device, peak)
        put_back(make_optimizer(loop.model, recipe, loop.device, peak), *taken_apart(loop.optimizer))


def _with_one_held_out_batch(loop: TrainingLoop) -> StudyData:
    """The data with the examples of the first batch of each held-out set as that set, which have been read once."""
    data, count = loop.job.data, loop.job.recipe.eval_batch_examples

    def first_of(examples: Examples) -> Examples:
        refuse_endless(examples)
        return examples.only_first(count)

    more = {name: first_of(examples) for name, examples in data.more_held_out.items()}
    return dataclasses.replace(data, held_out=first_of(data.held_out), more_held_out=more)


def _check_losses(measured: Mapping[str, Any]) -> bool:
    """Raise `StudyError` for a loss that no law can be fitted to: one that is not above 0 before any training."""
    named: Mapping[str, float] = measured["losses"] or {"": measured["loss"]}
    for name, loss in named.items():
        if problem := why_no_law(loss):
            of_set = f" of {name}" if name else ""
            raise StudyError(
                f"held-out{of_set}: {problem}; have the loss function add a number such as {offset_for(loss):g} (E and "
                "every predicted loss hold it too), or change the sign of a log-likelihood or reward"
            )
    return True


def _doubts_of_loss(study: Study, loop: Any, batch: Any) -> list[str | None]:
    """Of a mean that is none, and of targets without a part in it, unless the study says itself what its tokens are."""
    model, loss_fn = loop.model, loop.job.loss_fn
    says = study.data is not None and study.data.tokens_per_example is not None
    return [doubt_of_mean(model, batch, loss_fn), None if says else doubt_of_targets(model, batch, loss_fn)]


def _check_memory(study: Study, experiment: Experiment, device: torch.device) -> bool:
    """Raise `MemoryError` where a CPU training would be killed, which no Python code could report any more."""
    needed, there = peak_memory(experiment, study.training), ram_bytes()
    if device.type == "cpu" and needed is not None and there is not None and needed > there:
        raise MemoryError(f"about {format_bytes(needed)} are needed and this machine has {format_bytes(there)}")
    return True


def _memory(study: Study, experiment: Experiment, device: torch.device) -> float | None:
    if device.type == "cuda":
        return float(torch.cuda.max_memory_allocated(device))
    return peak_memory(experiment, study.training)


def _reset_memory(device: torch.device) -> None:
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)


def _synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
