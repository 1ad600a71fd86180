"""Train one experiment: exactly the planned tokens, resumable, ending with a held-out loss."""

from __future__ import annotations

import platform
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from flops_fit.basics.arguments import FOLDER, need
from flops_fit.basics.devices import choose_device, device_name
from flops_fit.basics.random_state import isolated_random_state, seed_everything
from flops_fit.errors import OutOfData, SourceChanged, StudyError
from flops_fit.processes.process_state import process_state_kept
from flops_fit.processes.stop_requests import end_as_asked, stop_requests
from flops_fit.recipe.steps import Steps, plan_steps
from flops_fit.recipe.trunk import siblings_of
from flops_fit.results.finished import load_finished
from flops_fit.results.results import RESULT_FILE, ExperimentResult
from flops_fit.training.attempt import attempt
from flops_fit.training.checkpoint import Progress
from flops_fit.training.evaluation import weights_sha256
from flops_fit.training.failures import describe_failure
from flops_fit.training.log_events import OnLog
from flops_fit.training.loop import Job, TrainingLoop
from flops_fit.training.optimizer import make_optimizer
from flops_fit.training.rank_loop import RankLoop
from flops_fit.training.ranks import Ranks, current_ranks
from flops_fit.training.trunk_loop import TrunkLoop, TrunkRankLoop

if TYPE_CHECKING:
    from flops_fit.study.study import Study
    from flops_fit.sweep.experiment import Experiment


def run_experiment(
    study: Study,
    experiment: Experiment,
    *,
    output_dir: str | Path,
    on_log: OnLog | None = None,
    resume: bool = True,
    siblings: Iterable[Experiment] = (),
) -> ExperimentResult:
    """Train `experiment` of `study` and return its result, also written to `<output_dir>/<experiment_id>/result.json`.

    Trains `experiment.num_tokens` tokens to within one example and evaluates on the study's held-out data. With
    `resume`, a result that is there already (completed or diverged, which would only diverge again) is returned as it
    is, and an interrupted training goes on from its checkpoint to the bit-identical result (CPU, same thread count).

    `on_log` gets a dict about four times a second, at the last step and once more with the outcome, see
    `flops_fit.training.log_events.LogEvent`; an exception in it is a warning. A result that was there already sends
    none.

    Where `torch.distributed` is initialised with several processes, all of them call this with the same arguments and
    train the experiment together; see `flops_fit.distributed`.

    An experiment that shares a trunk goes on from where another has left it in `output_dir`, whatever `resume` is, and
    leaves it for those of `siblings` that have no result yet; see `flops_fit.training.trunk_loop`.

    A study with a `trainer` has its own command run instead; see `flops_fit.training.by_command.run_external`.

    Whatever goes wrong in the model, the data, the loss or the machine becomes the result's status with its reason (see
    `ExperimentResult`). Raises `StudyError` for a study without data or loss, and `SourceChanged` where the study is
    not the one that the experiment was planned from.
    """
    need("output_dir", output_dir, FOLDER)
    directory = Path(output_dir).absolute() / experiment.experiment_id  # whatever the model makes the working directory
    ranks = current_ranks()
    if resume and ranks is None and (finished := load_finished(directory, experiment)) is not None:
        return finished
    _refuse_unless_planned(study, experiment, ranks)
    if study.trainer is not None:
        return _by_command(study, experiment, directory, on_log, resume)
    data, loss_fn = study.prepared_data, study.loss_function
    if data is None or loss_fn is None:
        raise StudyError(f"study {study.name!r} has no data or no loss; both are needed to train")
    job = Job(
        study=study,
        experiment=experiment,
        data=data,
        loss_fn=loss_fn,
        directory=directory,
        resume=resume,
        ranks=ranks,
        siblings=[
            item
            for item in siblings_of(experiment, siblings)
            if not (resume and (directory.parent / item.experiment_id / RESULT_FILE).exists())
        ],
    )
    if ranks is not None:
        return ranks.together(lambda: _lead(job, on_log), lambda: _isolated(job, None))
    result = _lead(job, on_log)
    end_as_asked(job.stop)
    return result


def _refuse_unless_planned(study: Study, experiment: Experiment, ranks: Ranks | None) -> None:
    try:
        study.refuse_unless_planned(experiment.outcome_fingerprint)
    except SourceChanged as error:
        if ranks is not None:
            ranks.vote(failure=("failed", str(error)))
        raise
    if ranks is not None:  # another process may see other files
        ranks.vote()


def _by_command(
    study: Study, experiment: Experiment, directory: Path, on_log: OnLog | None, resume: bool
) -> ExperimentResult:
    from flops_fit.training.by_command import run_external

    if current_ranks() is not None:
        raise StudyError(
            f"study {study.name!r} has a trainer, which every process here would start; put torchrun into "
            "trainer.command and start the study with `flops-fit run`"
        )
    return run_external(study, experiment, directory=directory, on_log=on_log, resume=resume)


def _lead(job: Job, on_log: OnLog | None) -> ExperimentResult:
    """The training by this process, or by all of its peers with this one in the lead."""

    def train(hook: OnLog | None) -> ExperimentResult:
        if job.ranks is not None:
            job.ranks.begin()
        return _isolated(job, hook)

    return attempt(job.experiment, job.directory, train, resume=job.resume, on_log=on_log, peak=job.peak)


def _isolated(job: Job, on_log: OnLog | None) -> ExperimentResult:
    """What the model changes in its process must not reach the next one; what its module set at import stays."""
    with stop_requests(job.stop), process_state_kept(), isolated_random_state():
        return _outcome(job, on_log)


def _outcome(job: Job, on_log: OnLog | None) -> ExperimentResult:
    """The result, whatever happens in the user's own code."""
    device, loop = choose_device(job.study.hardware.device), None
    try:
        loop = prepare_loop(job, device, on_log)
        loop.train()
        measured = loop.measured()
    except (
        Exception,
        SystemExit,
    ) as error:  # whatever the user's model, data or loss raise becomes data, with its reason
        status, reason = describe_failure(error) if job.ranks is None else job.ranks.agree(error)
        return _result(job, device, loop, status=status, reason=reason)
    return _result(job, device, loop, status="completed", measured=measured)


def prepare_loop(
    job: Job, device: torch.device, on_log: OnLog | None, *, kind: type[TrainingLoop] | None = None
) -> TrainingLoop:
    """The model, seeded and on `device`, its optimizer and its steps: all before the first of them."""
    recipe, experiment, spec = job.recipe, job.experiment, job.study.model
    steps = plan_steps(job.study.training, experiment, job.data.tokens_per_example)
    _check_epochs(job, steps)
    seed_everything(recipe.seed, experiment.seed)
    model = spec.build(experiment.size_param_value, experiment.arguments).to(device)
    optimizer = make_optimizer(model, recipe, device, recipe.peak_learning_rate(experiment))
    if recipe.compile:
        torch.compiler.reset()  # what is compiled for others counts towards the most that torch compiles of one class
        model.compile(dynamic=False)  # as it would be after a resume too, whatever batches came first
    shares = recipe.share_trunk and experiment.trunk
    alone, together = (TrunkLoop, TrunkRankLoop) if shares else (TrainingLoop, RankLoop)
    made = kind or (alone if job.ranks is None else together)
    return made(job=job, model=model, optimizer=optimizer, steps=steps, device=device, on_log=on_log)


def _check_epochs(job: Job, steps: Steps) -> None:
    total, limit = job.data.train.num_examples, job.study.sweep.max_epochs
    if total is not None and steps.examples > limit * total:
        raise OutOfData(
            f"{steps.examples:,} examples are {steps.examples / total:.2f} epochs of {total:,}, more than "
            f"max_epochs = {limit:g}; give more data, less compute, or raise max_epochs"
        )


def _result(
    job: Job,
    device: torch.device,
    loop: TrainingLoop | None,
    *,
    status: str,
    reason: str | None = None,
    measured: Mapping[str, Any] | None = None,
) -> ExperimentResult:
    experiment, total = job.experiment, job.data.train.num_examples
    progress = loop.progress if loop else Progress()
    tokens = round(progress.examples * job.data.tokens_per_example)
    return ExperimentResult.of(
        experiment,
        num_tokens=tokens,
        flops=experiment.flops_per_token * tokens,
        status=status,
        reason=reason,
        **(measured or {}),
        train_loss=loop.mean_tail_loss() if loop and status == "completed" else None,
        steps=progress.step,
        batch_examples=loop.steps.examples / loop.steps.steps if loop else 0.0,
        learning_rate=loop.highest_rate if loop else 0.0,
        devices=job.ranks.world_size if job.ranks else 1,
        trunk_tokens=round(progress.taken_over * job.data.tokens_per_example),
        trunk_steps=progress.taken_steps,
        trunk_seconds=progress.taken_seconds,
        stacked=progress.stacked,
        epochs=progress.examples / total if total else None,
        seconds=progress.seconds,
        tokens_per_second=tokens / progress.seconds if progress.seconds else 0.0,
        device=device_name(device),
        weights_sha256=weights_sha256(loop.model) if loop and status == "completed" else None,
        versions={"torch": str(torch.__version__), "python": platform.python_version()},
    )
