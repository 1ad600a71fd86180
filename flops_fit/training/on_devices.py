"""One training on as many devices of this machine as it takes, each with a process of its own where they are several.

Worker processes (`flops_fit.processes.workers`) are given what `torchrun` would give them: they start at once, get any
study that can be pickled, report, and end with whoever waits for them.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from flops_fit.basics.devices import ALL_GPUS, all_gpus
from flops_fit.errors import StudyError
from flops_fit.processes.alive import tell
from flops_fit.processes.device_slots import devices_held
from flops_fit.processes.stop_requests import StopRequest, end_as_asked, stop_requests
from flops_fit.processes.workers import TaskOutcome, WorkerPool
from flops_fit.results.finished import load_finished
from flops_fit.results.results import RESULT_FILE, ExperimentResult, failed_result
from flops_fit.training.log_events import Guarded, OnLog, finished_event

if TYPE_CHECKING:
    from flops_fit.study.study import Study
    from flops_fit.sweep.experiment import Experiment

LOCKS = ".devices"  # beside the results, where nobody says otherwise
_BEAT_SECONDS = 5.0
_NEWS_SECONDS = 5.0  # from an error in one process until the others, which may wait for it for ever, are ended


def train_on_devices(
    study: Study,
    experiment: Experiment,
    devices: int,
    *,
    output_dir: Path,
    locks: Path | None = None,
    on_log: OnLog | None = None,
    resume: bool = True,
    siblings: Sequence[Experiment] = (),
) -> ExperimentResult:
    """`run_experiment` on so many devices of this machine, in this process if it is one.

    In a study whose trainings may take several, each first takes its own of the machine's (one for each worker of the
    study), and waits for them; `locks` is the folder that says who has which. A process that dies ends the training of
    all, which is tried once more from the last checkpoint. A study with [slurm] has a job do it instead.

    Raises `StudyError` where this machine has fewer GPUs.
    """
    from flops_fit.training.training_run import run_experiment

    options: dict[str, Any] = {"output_dir": output_dir, "resume": resume, "siblings": siblings}
    if study.slurm is not None:
        return _by_slurm(study, experiment, devices, locks, on_log, options)
    if study.hardware.devices_per_training == 1:
        return run_experiment(study, experiment, on_log=on_log, **options)
    directory = Path(output_dir).absolute() / experiment.experiment_id
    if resume and (finished := load_finished(directory, experiment)) is not None:
        return finished
    with _held(study, devices, locks or Path(output_dir) / LOCKS) as gpus:
        if devices == 1:
            return run_experiment(study, experiment, on_log=on_log, **options)
        hook = Guarded(on_log) if on_log else None
        return _together(study, experiment, devices, gpus, hook, options)


def _by_slurm(
    study: Study,
    experiment: Experiment,
    devices: int,
    locks: Path | None,
    on_log: OnLog | None,
    options: Mapping[str, Any],
) -> ExperimentResult:
    """A job of Slurm, whose devices are as many of those that the study may use at a time."""
    from flops_fit.training.by_slurm import train_by_slurm

    if study.hardware.devices_per_training == 1:
        return train_by_slurm(study, experiment, devices, on_log=on_log, **options)
    folder, total = locks or Path(options["output_dir"]) / LOCKS, study.hardware.num_workers()
    with devices_held(folder, "slurm", total, devices):
        return train_by_slurm(study, experiment, devices, on_log=on_log, **options)


@contextmanager
def _held(study: Study, count: int, locks: Path) -> Iterator[Sequence[str]]:
    """While the block runs, so many devices are this training's: the names of its GPUs; none of the CPU."""
    import torch

    gpus, workers = all_gpus(study.hardware.device), study.hardware.num_workers()
    kind, total = ("gpu", min(len(gpus), workers)) if gpus else ("cpu", max(count, workers))
    if count > total:
        raise StudyError(
            f"a training on {count} devices cannot be started on this machine, where it may take {total} of "
            f"{len(gpus)} GPUs; set workers = {len(gpus)} in [hardware] and devices_per_training no higher, or start "
            "it where there are more"
        )
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    pinned = gpus.index(visible) if ALL_GPUS in os.environ and visible in gpus else None
    with devices_held(locks, kind, total, count, pinned) as numbers:
        if gpus and count == 1 and pinned is None and len(gpus) > 1:
            torch.cuda.set_device(numbers[0])
        yield [gpus[number] for number in numbers] if gpus else []


@dataclass(frozen=True, kw_only=True)
class Rank:
    """What each of several processes is given; `meeting` is a file by which they find each other."""

    number: int
    of: int
    meeting: str
    on_gpus: bool
    experiment: Experiment
    options: Mapping[str, Any]


def _together(
    study: Study,
    experiment: Experiment,
    devices: int,
    gpus: Sequence[str],
    on_log: Guarded | None,
    options: Mapping[str, Any],
) -> ExperimentResult:
    stop = StopRequest()
    for last in (False, True):
        outcomes = _attempt(study, experiment, devices, gpus, on_log, options, stop)
        lost = min((outcome for outcome in outcomes if outcome.error), key=lambda each: not each.died, default=None)
        if lost is None:
            result = next(outcome.value for outcome in outcomes if outcome.index == 0)
            break
        if last or not lost.died or stop.number is not None:
            result = _lost(experiment, lost, devices, stop)
            # a process that waited for the lost one may have written another reason there; the disk may be full
            with contextlib.suppress(OSError):
                result.save(Path(options["output_dir"]) / experiment.experiment_id / RESULT_FILE)
            if on_log:
                on_log(finished_event(experiment, result))
            break
    end_as_asked(stop)
    return result


def _attempt(
    study: Study,
    experiment: Experiment,
    devices: int,
    gpus: Sequence[str],
    on_log: Guarded | None,
    options: Mapping[str, Any],
    stop: StopRequest,
) -> list[TaskOutcome]:
    """The outcomes of all processes but those that were ended as they waited for one that was lost."""
    outcomes, ended = [], threading.Event()

    def hear(index: int, event: dict[str, Any]) -> None:
        if index == 0 and on_log is not None:
            on_log({**event, "devices": devices})

    visible = {"CUDA_VISIBLE_DEVICES": ",".join(gpus)} if gpus else {}
    with (
        TemporaryDirectory(prefix="flops_fit_") as folder,
        WorkerPool(
            "flops_fit.training.on_devices:train_as_rank", num_workers=devices, shared=study, environments=[visible]
        ) as pool,
        stop_requests(stop),
    ):
        stop.also = pool.ask_to_stop
        ranks = [
            Rank(
                number=number,
                of=devices,
                meeting=f"{folder}/meeting",
                on_gpus=bool(gpus),
                experiment=experiment,
                options=options,
            )
            for number in range(devices)
        ]

        def end() -> None:
            ended.set()
            pool.kill()

        later = threading.Timer(_NEWS_SECONDS, end)
        for outcome in pool.run(ranks, hear):
            outcomes += [] if ended.is_set() else [outcome]
            if outcome.died:
                end()
            elif outcome.error is not None and later.ident is None:  # maybe as another has died: that is heard soon
                later.daemon = True
                later.start()
        later.cancel()
    return outcomes


def _lost(experiment: Experiment, lost: TaskOutcome, devices: int, stop: StopRequest) -> ExperimentResult:
    if stop.number is not None:
        reason = f"{stop.name} asked it to stop before a step was done; run again to go on"
        return failed_result(experiment, reason, status="interrupted")
    return failed_result(experiment, f"on rank {lost.index} of {devices}: {lost.error}")


def train_as_rank(rank: Rank, emit: Any, study: Study) -> ExperimentResult:
    """The task of each process; all of them return the same result."""
    import torch
    from torch import distributed

    from flops_fit.training.ranks import TIMEOUT
    from flops_fit.training.training_run import run_experiment

    if rank.on_gpus:
        torch.cuda.set_device(rank.number)
    with _beating(emit) if rank.number else nullcontext():
        distributed.init_process_group(
            "nccl" if rank.on_gpus else "gloo",
            init_method=f"file://{rank.meeting}",
            rank=rank.number,
            world_size=rank.of,
            timeout=TIMEOUT,
        )
        try:
            hook = None if rank.number else emit
            return run_experiment(study, rank.experiment, on_log=hook, **rank.options)
        finally:
            distributed.destroy_process_group()


@contextmanager
def _beating(emit: Any) -> Iterator[None]:
    """Signs of life of a process that may wait for the first one's evaluation longer than anyone may be silent; if the
    first hangs, that is heard of the first."""
    tell(None)
    done = threading.Event()

    def beat() -> None:
        while not done.wait(_BEAT_SECONDS):
            emit({})

    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
