"""Train experiments of one shape at once, up to their last step, each into its own checkpoint.

What comes after the last step, and whatever fails before it, is left to each one's own training, which goes on from
its checkpoint: it measures, it writes the result, it says in its own words why there is none. So a stack can do no more
harm than to have been of no use.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from filelock import FileLock, Timeout

from flops_fit.basics.devices import choose_device
from flops_fit.basics.files import remove_temporary
from flops_fit.basics.random_state import isolated_random_state
from flops_fit.errors import Interrupted, SourceChanged
from flops_fit.processes.process_state import process_state_kept
from flops_fit.processes.stop_requests import StopRequest, end_as_asked, stop_requests
from flops_fit.results.finished import LOCK_FILE, load_finished
from flops_fit.results.results import RESULT_FILE
from flops_fit.training.checkpoint import CHECKPOINT_FILE
from flops_fit.training.log_events import Guarded, OnLog
from flops_fit.training.loop import Clock, Job
from flops_fit.training.stacked.batches import StackedBatch, StackedReader, Unequal
from flops_fit.training.stacked.decision import Decision
from flops_fit.training.stacked.groups import parts_of
from flops_fit.training.stacked.member import Member
from flops_fit.training.stacked.stack import CannotStack, Stack
from flops_fit.training.stacked.trial import decide, with_own_loss
from flops_fit.training.training_run import prepare_loop

if TYPE_CHECKING:
    from flops_fit.study.study import Study
    from flops_fit.sweep.experiment import Experiment

_LOG_SECONDS = 0.25


def advance(
    study: Study,
    experiments: Sequence[Experiment],
    *,
    output_dir: str | Path,
    resume: bool = True,
    on_log: OnLog | None = None,
) -> Decision | None:
    """Train `experiments`, which `groups.stacks_of` gave together, at once where a trial says that this may be done.

    Those that are finished, or that another process trains, are left out; None where fewer than two are left. Without
    `resume` what is there of them is removed first. `on_log` hears of the steps of each.
    """
    try:
        for experiment in experiments:
            study.refuse_unless_planned(experiment.outcome_fingerprint)
    except SourceChanged:  # which each one's own training says
        return None
    directory, request = Path(output_dir).absolute(), StopRequest()
    with ExitStack() as held, stop_requests(request), process_state_kept(), isolated_random_state():
        jobs = [job for item in experiments if (job := _taken(study, item, directory, resume, request, held))]
        decision = _advance(jobs, choose_device(study.hardware.device), on_log) if len(jobs) > 1 else None
    end_as_asked(request)
    return decision


def _advance(jobs: Sequence[Job], device: torch.device, on_log: OnLog | None) -> Decision:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "There is a performance drop", UserWarning)  # of vmap, which is timed
        decision = decide(jobs, device, jobs[0].study.hardware.trainings_per_device)
        hook = Guarded(on_log) if on_log else None
        for part in parts_of(jobs, decision.at_once) if decision.at_once > 1 else ():
            try:
                _train(with_own_loss(part), device, hook)
            except (Exception, SystemExit) as error:  # each goes on alone, and says what is wrong if it is its own
                said = f"{type(error).__name__}: {error}".split("\n", 1)[0]
                reason = str(error) if isinstance(error, CannotStack | Unequal) else said
                decision = replace(decision, at_once=1, why=f"on the way: {reason}")
        return decision


def _taken(
    study: Study, experiment: Experiment, output_dir: Path, resume: bool, request: StopRequest, held: ExitStack
) -> Job | None:
    """Its job, with its folder held; None where it is finished, or another process holds it."""
    directory, data, loss_fn = output_dir / experiment.experiment_id, study.prepared_data, study.loss_function
    assert data is not None
    assert loss_fn is not None
    try:
        directory.mkdir(parents=True, exist_ok=True)
        held.enter_context(FileLock(directory / LOCK_FILE).acquire(timeout=0))
        if not resume:
            for name in (RESULT_FILE, CHECKPOINT_FILE):
                (directory / name).unlink(missing_ok=True)
        elif load_finished(directory, experiment) is not None:
            return None
        remove_temporary(directory)
    except (Timeout, OSError):
        return None
    return Job(
        study=study,
        experiment=experiment,
        data=data,
        loss_fn=loss_fn,
        directory=directory,
        resume=True,
        stop=request,
    )


def _train(jobs: Sequence[Job], device: torch.device, on_log: OnLog | None) -> None:
    """All to their last step; those that are behind first catch up with the others."""
    if jobs[0].stop.number is not None:
        raise Interrupted("asked to stop")
    left = [member for job in jobs if (member := _begun(job, device, on_log))]
    while left := [member for member in left if member.progress.step < member.steps.steps]:
        at = min(member.progress.step for member in left)
        behind = [member for member in left if member.progress.step == at]
        ahead = [member for member in left if member.progress.step > at]
        until = min([member.progress.step for member in ahead], default=left[0].steps.steps)
        left = ahead + _train_until(behind, until)


def _begun(job: Job, device: torch.device, on_log: OnLog | None) -> Member | None:
    """It at its checkpoint; None where it cannot be built, which its own training says."""
    try:
        member = prepare_loop(job, device, on_log, kind=Member)
        assert isinstance(member, Member)
        member.take_up()
    except (Exception, SystemExit):
        return None
    return member


def _train_until(members: Sequence[Member], until: int) -> list[Member]:
    """Those that are sound after step `until`, or after one at which others diverged: these are left where their last
    checkpoint is, and what their own training makes of it from there on counts."""
    stack, job = Stack(members), members[0].job
    members, steps = stack.members, members[0].steps
    reader, clock = StackedReader(job.data.train, members), Clock(already=0.0)
    may_skip = job.data.tokens.varies or job.data.tokens.share < 1
    before, factors = [member.progress.seconds for member in members], [0.0] * len(members)
    for step in range(members[0].progress.step, until):
        batch = _read(stack, reader, steps.end(step + 1) - steps.end(step), factors)
        if may_skip and not all(member.has_targets(batch.of(at)) for at, member in enumerate(members)):
            _keep_all(stack, factors)
            raise CannotStack("a batch has no target, which a training skips")
        losses = stack.losses(batch)
        factors = [member.steps.rate_factor(member.job.recipe, step) for member in members]
        stack.update(factors)
        sound, share = [math.isfinite(loss) for loss in losses], clock.seconds() / len(members)
        is_due = clock.due("report", _LOG_SECONDS) or step + 1 == steps.steps
        for at, member in enumerate(members):
            if sound[at]:
                member.note(losses[at], factors[at], before[at] + share, len(members))
                if is_due:
                    member.report(losses[at], factors[at])
        if not all(sound):
            stack.settle()
            return [member for member, is_sound in zip(members, sound, strict=True) if is_sound]
        stops = job.stop.number is not None
        if clock.due("checkpoint", job.recipe.checkpoint_seconds) or step + 1 == steps.steps or stops:
            _keep_all(stack, factors)
        if stops:
            raise Interrupted("asked to stop")
    stack.settle()
    return list(members)


def _read(stack: Stack, reader: StackedReader, count: int, factors: Sequence[float]) -> StackedBatch:
    try:
        return reader.read(count)
    except Exception:  # of the user's data: what was trained so far is kept
        _keep_all(stack, factors)
        raise


def _keep_all(stack: Stack, factors: Sequence[float]) -> None:
    stack.settle()
    for member, factor in zip(stack.members, factors, strict=True):
        member.keep(factor)
