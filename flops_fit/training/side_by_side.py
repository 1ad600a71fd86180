"""Experiments trained side by side on this machine's workers."""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flops_fit.cost.devices import Devices
from flops_fit.cost.hardware import peak_to_show
from flops_fit.errors import FileError, FlopsFitWarning
from flops_fit.processes.workers import CannotBeSent, TaskOutcome, WorkerPool
from flops_fit.recipe.trunk import all_siblings, trained_flops
from flops_fit.recipe.trunk_states import FOLDER
from flops_fit.results.finished import already_finished
from flops_fit.results.results import ExperimentResult, failed_result
from flops_fit.study.study import Study
from flops_fit.sweep.experiment import Experiment
from flops_fit.sweep.order import longest_first
from flops_fit.training.log_events import OnLog, finished_event
from flops_fit.training.progress import StudyProgress
from flops_fit.training.stacked.decision import Decision, in_words
from flops_fit.training.stacked.groups import grouped_in_words, stacks_of
from flops_fit.training.stacked.together import Together, train_together

Stack = tuple[Experiment, ...]


def train_all(
    study: Study,
    experiments: Sequence[Experiment],
    *,
    output_dir: Path,
    resume: bool = True,
    progress: bool = True,
    on_log: OnLog | None = None,
    workers: WorkerPool | None = None,
    devices: Mapping[str, Devices] | None = None,
) -> list[ExperimentResult]:
    """Train every experiment, side by side on this machine's workers, and return the results in the same order.

    `on_log` is called in this process with the events of all of them; see `flops_fit.training.log_events.LogEvent`.
    Where the model, data or loss cannot be sent to worker processes (they hold an open file or a lock, say), the
    experiments are trained in this process one after the other, said once in a warning. An experiment whose process
    died is tried once more. `workers` of `study_workers` may be given, so that they start but once. `devices` are those
    of `CostEstimate`, by experiment id; without them each takes as many as `devices_per_training` says, "auto" one.
    """
    results = already_finished(experiments, output_dir) if resume else {}
    if not resume:
        _forget_trunks(experiments, output_dir)
    ordered = longest_first(item for item in experiments if item.experiment_id not in results)
    tokens = study.prepared_data.tokens_per_example if study.prepared_data else 1
    taken = {name: result.trunk_tokens for name, result in results.items()}
    planned = trained_flops(study.training, experiments, tokens, taken)
    wanted = (progress or on_log is not None) and study.slurm is None
    peak = peak_to_show(study.hardware, planned, study.training.precision) if wanted else None
    with StudyProgress(len(ordered), planned_flops=planned, peak=peak, on_log=on_log, show=progress) as bars:
        runs = _side_by_side(study, ordered, workers, output_dir, resume, bars, devices or {})
        results |= {result.experiment_id: result for result in runs}
    return [results[experiment.experiment_id] for experiment in experiments]


def _forget_trunks(experiments: Iterable[Experiment], output_dir: Path) -> None:
    """So that what their trunks share is trained again too; raises `FileError` where a state cannot be removed."""
    for name in sorted({item.trunk for item in experiments} - {""}):
        folder = output_dir / FOLDER / name
        try:
            shutil.rmtree(folder)
        except FileNotFoundError:
            continue
        except OSError as error:
            raise FileError(
                f"{folder}: states of a trunk that is to be trained again cannot be removed ({error}); nothing was "
                f"trained. End what else trains into {output_dir}, or `rm -r {folder}`, and start again; or leave "
                "resume = False out to go on from them"
            ) from error


def study_workers(study: Study, tasks: int) -> WorkerPool:
    """Worker processes that have `study`, for `tasks` trainings; raises `CannotBeSent` where they cannot get it."""
    from flops_fit.basics.devices import worker_environments

    return WorkerPool(
        "flops_fit.training.side_by_side:train_in_worker",
        num_workers=min(tasks, study.hardware.num_workers()),
        shared=study,
        environments=worker_environments(study.hardware.device),
    )


def _side_by_side(
    study: Study,
    experiments: Sequence[Experiment],
    workers: WorkerPool | None,
    output_dir: Path,
    resume: bool,
    bars: StudyProgress,
    devices: Mapping[str, Devices],
) -> Iterator[ExperimentResult]:
    siblings = all_siblings(experiments)
    stacks = stacks_of(study, experiments)
    asked = study.hardware.devices_per_training
    usual = Devices(count=asked if isinstance(asked, int) else 1)

    def payload(stack: Stack) -> Payload:
        first = stack[0].experiment_id
        return Payload(
            stack=stack,
            output_dir=output_dir,
            resume=resume,
            siblings=siblings.get(first, ()),
            devices=devices.get(first, usual).count,
        )

    try:
        with nullcontext(workers) if workers else study_workers(study, len(experiments)) as pool:
            for line in grouped_in_words(study, stacks):
                bars.say(line)
            yield from _results(trained_in(pool, stacks, payload, bars), bars)
    except CannotBeSent as error:
        message = (
            f"worker processes cannot get the model, data or loss ({error}); training in this process instead, "
            "one experiment after the other; give functions that make what cannot be sent to use all cores"
        )
        warnings.warn(message, FlopsFitWarning, stacklevel=4)
        for line in grouped_in_words(study, stacks, apart="worker processes cannot get the model, data or loss"):
            bars.say(line)
        yield from _one_by_one(study, experiments, output_dir, resume, bars)


def trained_in(
    pool: WorkerPool,
    stacks: Sequence[Stack],
    payload: Callable[[Stack], Any],
    bars: StudyProgress,
    on_death: Callable[[Experiment, str], None] | None = None,
) -> Iterator[tuple[Experiment, ExperimentResult | None, str | None]]:
    """Every experiment of `stacks` as it ends, with its result, or with why there is none.

    The task with `payload(stack)` returns `Together`. Where its worker died, `on_death` hears of each of the stack, and
    each is tried once more, alone: what one of them does to its process must not end the others.
    """
    decided: list[Decision] = []
    again: list[Stack] = []
    for outcome in pool.run([payload(stack) for stack in stacks], lambda _, event: bars.update(event)):
        stack, error = stacks[outcome.index], outcome.error or "no result"
        if outcome.value is None and (outcome.died or len(stack) > 1):
            for experiment in stack:
                bars.lost(experiment.experiment_id, error)
                if on_death:
                    on_death(experiment, error)
            again += [(experiment,) for experiment in stack]
        else:
            yield from _each(stack, outcome, decided)
    for outcome in pool.run([payload(stack) for stack in again], lambda _, event: bars.update(event)):
        yield from _each(again[outcome.index], outcome, decided)
    for line in in_words(decided):
        bars.say(line)


def _each(
    stack: Stack, outcome: TaskOutcome, decided: list[Decision]
) -> Iterator[tuple[Experiment, ExperimentResult | None, str | None]]:
    if outcome.value is None:
        yield from ((experiment, None, outcome.error or "no result") for experiment in stack)
        return
    together: Together = outcome.value
    if together.decision is not None:
        decided.append(together.decision)
    yield from ((experiment, result, None) for experiment, result in zip(stack, together.results, strict=True))


def _results(
    ended: Iterable[tuple[Experiment, ExperimentResult | None, str | None]], bars: StudyProgress
) -> Iterator[ExperimentResult]:
    for experiment, found, error in ended:
        result = found or failed_result(experiment, error or "no result")
        if found is None:  # its process is gone and cannot say so
            bars.update(finished_event(experiment, result))
        bars.finish(result)
        yield result


def _one_by_one(
    study: Study, experiments: Sequence[Experiment], output_dir: Path, resume: bool, bars: StudyProgress
) -> Iterator[ExperimentResult]:
    import torch

    from flops_fit.training.training_run import run_experiment

    threads, siblings = torch.get_num_threads(), all_siblings(experiments)
    torch.set_num_threads(1)  # as in the workers: the same result to the bit, and small models are faster so
    try:
        for experiment in experiments:
            result = run_experiment(
                study,
                experiment,
                output_dir=output_dir,
                on_log=bars.update,
                resume=resume,
                siblings=siblings.get(experiment.experiment_id, ()),
            )
            bars.finish(result)
            yield result
    finally:
        torch.set_num_threads(threads)


@dataclass(frozen=True, kw_only=True)
class Payload:
    """What a worker process is told of a stack; `devices` are those of its training, where it is one."""

    stack: Stack
    output_dir: Path
    resume: bool
    siblings: Sequence[Experiment]
    devices: int


def train_in_worker(told: Payload, emit: Any, study: Study) -> Together:
    """The task of one worker process; see `flops_fit.processes.workers.WorkerPool`."""
    from flops_fit.training.on_devices import train_on_devices

    how: dict[str, Any] = {"output_dir": told.output_dir, "on_log": emit}

    def train(experiment: Experiment, resume: bool) -> ExperimentResult:
        return train_on_devices(study, experiment, told.devices, resume=resume, siblings=told.siblings, **how)

    return train_together(study, told.stack, train, resume=told.resume, **how)
