"""Train one experiment: exactly the planned tokens, resumable, ending with a held-out loss."""

from __future__ import annotations

import hashlib
import math
import platform
import time
import traceback
import warnings
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from filelock import FileLock

from flops_fit.batches import Examples
from flops_fit.checkpoint import CHECKPOINT_FILE, Progress, load_checkpoint, save_checkpoint
from flops_fit.data import StudyData
from flops_fit.errors import DataError, FileError, FlopsFitWarning, StudyError
from flops_fit.files import remove_temporary, set_aside
from flops_fit.loss import LossFn, batch_loss
from flops_fit.model_factory import create_model
from flops_fit.random_state import isolated_random_state, seed_everything
from flops_fit.recipe import Recipe
from flops_fit.results import RESULT_FILE, ExperimentResult
from flops_fit.run_log import RunLog

if TYPE_CHECKING:
    from flops_fit.study import Study
    from flops_fit.sweep import Experiment

OnProgress = Callable[[dict[str, Any]], None]
_PROGRESS_SECONDS = 0.25
_LOCK_FILE = ".lock"


class Diverged(Exception):
    """The loss is no longer finite; the message names the step and the last finite loss."""


@dataclass(frozen=True, kw_only=True)
class Steps:
    """How the experiment's examples fall into optimizer steps: sizes differ by at most one, nothing is left over."""

    examples: int
    steps: int

    def end(self, step: int) -> int:
        """Examples seen once `step` steps are done."""
        return self.examples * step // self.steps

    def progress(self, step: int) -> float:
        """The middle of step number `step` (from 0) as a share of the run."""
        return (self.end(step) + self.end(step + 1)) / (2 * self.examples)


def plan_steps(recipe: Recipe, num_tokens: int, tokens_per_example: int) -> Steps:
    """Steps of a run of `num_tokens` tokens; raises `DataError` where these are less than one example."""
    examples = num_tokens // tokens_per_example
    if examples < 1:
        raise DataError(f"{num_tokens} tokens are less than one example of {tokens_per_example}; raise the budget")
    batch = max(1.0, recipe.tokens_per_step(num_tokens) / tokens_per_example)
    return Steps(examples=examples, steps=max(1, round(examples / batch)))


def run_experiment(
    study: Study,
    experiment: Experiment,
    *,
    output_dir: str | Path,
    on_progress: OnProgress | None = None,
    resume: bool = True,
) -> ExperimentResult:
    """Train `experiment` of `study` and return its result, also written to `<output_dir>/<experiment_id>/result.json`.

    Trains `experiment.num_tokens` tokens to within one example and evaluates on the study's held-out data. With
    `resume`, a result that is there already (completed or diverged, which would only diverge again) is returned as it
    is, and an interrupted training goes on from its checkpoint to the bit-identical result (CPU, same thread count).

    `on_progress` gets a dict about four times a second: experiment_id, step, steps, tokens, num_tokens, loss,
    tokens_per_second, seconds. An error in the model, the data or the loss makes the result "failed" and a loss that is
    not finite "diverged", each with its reason. Raises `StudyError` for a study without data or loss.
    """
    directory = Path(output_dir) / experiment.experiment_id
    if resume and (finished := load_finished(directory)) is not None:
        return finished
    data, loss_fn = study.prepared_data, study.loss_function
    if data is None or loss_fn is None:
        raise StudyError(f"study {study.name!r} has no data or no loss; both are needed to train")
    directory.mkdir(parents=True, exist_ok=True)
    with FileLock(
        directory / _LOCK_FILE
    ):  # a second process given the same experiment waits here, then reads the result
        if resume and (finished := load_finished(directory)) is not None:
            return finished
        remove_temporary(directory)
        run = _Run(study=study, experiment=experiment, data=data, loss_fn=loss_fn, directory=directory, resume=resume)
        with isolated_random_state():
            result = run.outcome(on_progress)
        result.save(directory / RESULT_FILE)
        (directory / CHECKPOINT_FILE).unlink(missing_ok=True)
    return result


def load_finished(directory: Path) -> ExperimentResult | None:
    """The completed or diverged result in `directory`; an unreadable one is set aside with a warning."""
    path = directory / RESULT_FILE
    if not path.exists():
        return None
    try:
        result = ExperimentResult.load(path)
    except FileError as error:
        kept = set_aside(path)
        warnings.warn(f"{error}; kept as {kept.name}, trained again", FlopsFitWarning, stacklevel=2)
        return None
    if result.experiment_id != directory.name:
        kept = set_aside(path)
        message = f"{path} is the result of {result.experiment_id}; kept as {kept.name}, trained again"
        warnings.warn(message, FlopsFitWarning, stacklevel=2)
        return None
    return None if result.status == "failed" else result


def choose_device(name: str) -> torch.device:
    """`"auto"` is the first GPU where there is one, the CPU otherwise."""
    return torch.device(("cuda" if torch.cuda.is_available() else "cpu") if name == "auto" else name)


@dataclass(frozen=True, kw_only=True)
class _Run:
    """One training, from seeds to result."""

    study: Study
    experiment: Experiment
    data: StudyData
    loss_fn: LossFn
    directory: Path
    resume: bool

    def outcome(self, on_progress: OnProgress | None) -> ExperimentResult:
        """The result, whatever happens in the user's own code."""
        device, loop = choose_device(self.study.hardware.device), None
        try:
            loop = self._prepare(device, on_progress)
            loop.train()
            loss = loop.held_out_loss()
        except Diverged as error:
            return self._result(device, loop, status="diverged", reason=str(error))
        except Exception as error:  # the user's model, data or loss: the failure becomes data, with its traceback
            reason = f"{type(error).__name__}: {error}\n{traceback.format_exc(limit=-3)}"
            return self._result(device, loop, status="failed", reason=reason)
        return self._result(device, loop, status="completed", loss=loss)

    def _prepare(self, device: torch.device, on_progress: OnProgress | None) -> _Loop:
        recipe, experiment, spec = self.study.training, self.experiment, self.study.model
        steps = plan_steps(recipe, experiment.num_tokens, self.data.tokens_per_example)
        self._check_epochs(steps)
        seed_everything(recipe.seed, experiment.seed)
        model = create_model(spec.factory, spec.size_param, experiment.size_param_value, spec.kwargs).to(device)
        optimizer = make_optimizer(model, recipe, device)
        return _Loop(run=self, model=model, optimizer=optimizer, steps=steps, device=device, on_progress=on_progress)

    def _check_epochs(self, steps: Steps) -> None:
        total, limit = self.data.train.num_examples, self.study.sweep.max_epochs
        if total is not None and steps.examples > limit * total:
            raise DataError(
                f"{steps.examples:,} examples are {steps.examples / total:.2f} epochs of {total:,}, more than "
                f"max_epochs = {limit:g}; give more data, less compute, or raise max_epochs"
            )

    def _result(
        self,
        device: torch.device,
        loop: _Loop | None,
        *,
        status: str,
        reason: str | None = None,
        loss: float | None = None,
    ) -> ExperimentResult:
        experiment, total = self.experiment, self.data.train.num_examples
        progress = loop.progress if loop else Progress()
        tokens = progress.examples * self.data.tokens_per_example
        return ExperimentResult(
            experiment_id=experiment.experiment_id,
            compute_budget=experiment.compute_budget,
            size_param=experiment.size_param,
            size_param_value=experiment.size_param_value,
            num_params=experiment.num_params,
            num_tokens=tokens,
            flops=experiment.flops_per_token * tokens,
            flops_per_token=experiment.flops_per_token,
            seed=experiment.seed,
            status=status,
            reason=reason,
            loss=loss,
            train_loss=loop.mean_tail_loss() if loop and status == "completed" else None,
            steps=progress.step,
            batch_examples=loop.steps.examples / loop.steps.steps if loop else 0.0,
            learning_rate=loop.peak_rate if loop else 0.0,
            epochs=progress.examples / total if total else None,
            seconds=progress.seconds,
            tokens_per_second=tokens / progress.seconds if progress.seconds else 0.0,
            device=_device_name(device),
            weights_sha256=weights_sha256(loop.model) if loop and status == "completed" else None,
            versions={"torch": str(torch.__version__), "python": platform.python_version()},
        )


@dataclass(kw_only=True)
class _Loop:
    """The steps of one training."""

    run: _Run
    model: torch.nn.Module
    optimizer: torch.optim.Optimizer
    steps: Steps
    device: torch.device
    on_progress: OnProgress | None
    progress: Progress = field(default_factory=Progress)

    @property
    def peak_rate(self) -> float:
        """The experiment's peak learning rate."""
        return self.run.study.training.peak_learning_rate(self.run.experiment)

    def train(self) -> None:
        """All steps that are left, from the checkpoint on where there is one."""
        run, recipe = self.run, self.run.study.training
        if run.resume:
            self.progress = load_checkpoint(self._checkpoint, self._name, self.model, self.optimizer) or Progress()
        log = RunLog.open(run.directory, self.steps.steps, self.progress.step)
        reader = run.data.train.reader(recipe.seed * 1_000_003 + run.experiment.seed, self.progress.examples)
        clock = _Clock(already=self.progress.seconds)
        peak, last_finite = self.peak_rate, math.nan
        self.model.train()
        for step in range(self.progress.step, self.steps.steps):
            rate = peak * recipe.schedule_factor(self.steps.progress(step))
            loss = self._step(reader.read(self.steps.end(step + 1) - self.steps.end(step)), rate)
            if not math.isfinite(loss):
                where = f"at step {step + 1} of {self.steps.steps}"
                raise Diverged(f"loss is {loss} {where}; the last finite one was {last_finite:.4g}")
            last_finite = loss
            self._advance(step, loss, clock.seconds())
            log.write(step + 1, self._tokens(), loss, rate, self.progress.seconds)
            self._report(loss, clock)
            if clock.due("checkpoint", recipe.checkpoint_seconds) and step + 1 < self.steps.steps:
                save_checkpoint(self._checkpoint, self._name, self.model, self.optimizer, self.progress)

    def held_out_loss(self) -> float:
        """The mean held-out loss at the end; raises `Diverged` where it is not finite."""
        run = self.run
        batch = run.study.training.eval_batch_examples
        loss = held_out_loss(self.model, run.data.held_out, run.loss_fn, batch, self.device, self._autocast())
        if not math.isfinite(loss):
            raise Diverged(f"held-out loss is {loss} after {self.steps.steps} steps")
        return loss

    def mean_tail_loss(self) -> float:
        """Mean training loss over the last tenth of the steps."""
        return self.progress.tail_loss_sum / (self.steps.steps - self._tail_start)

    @property
    def _checkpoint(self) -> Path:
        return self.run.directory / CHECKPOINT_FILE

    @property
    def _name(self) -> str:
        return self.run.experiment.experiment_id

    @property
    def _tail_start(self) -> int:
        return self.steps.steps - max(1, self.steps.steps // 10)

    def _advance(self, step: int, loss: float, seconds: float) -> None:
        self.progress = Progress(
            step=step + 1,
            examples=self.steps.end(step + 1),
            seconds=seconds,
            tail_loss_sum=self.progress.tail_loss_sum + (loss if step >= self._tail_start else 0.0),
        )

    def _autocast(self) -> Any:
        wanted = self.run.study.training.precision
        on_gpu = self.device.type == "cuda" and torch.cuda.is_bf16_supported()
        if wanted == "bfloat16" or (wanted == "auto" and on_gpu):
            return torch.autocast(self.device.type, dtype=torch.bfloat16)
        return nullcontext()

    def _step(self, batch: Any, rate: float) -> float:
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        with self._autocast():
            loss = batch_loss(self.model, to_device(batch, self.device), self.run.loss_fn)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        clip = self.run.study.training.gradient_clip
        if clip is not None:
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), clip)
        self.optimizer.step()
        return loss.item()

    def _tokens(self) -> int:
        return self.progress.examples * self.run.data.tokens_per_example

    def _report(self, loss: float, clock: _Clock) -> None:
        at_end = self.progress.step == self.steps.steps
        if self.on_progress is None or not (clock.due("report", _PROGRESS_SECONDS) or at_end):
            return
        tokens, seconds = self._tokens(), self.progress.seconds
        self.on_progress(
            {
                "experiment_id": self._name,
                "step": self.progress.step,
                "steps": self.steps.steps,
                "tokens": tokens,
                "num_tokens": self.run.experiment.num_tokens,
                "planned_flops": self.run.experiment.planned_flops,
                "loss": loss,
                "tokens_per_second": tokens / seconds if seconds else 0.0,
                "seconds": seconds,
            }
        )


class _Clock:
    """Seconds of training, those before an interruption included, and what is due by time."""

    def __init__(self, already: float) -> None:
        self._start = time.perf_counter() - already
        self._last: dict[str, float] = {}
        self._begin = already

    def seconds(self) -> float:
        return time.perf_counter() - self._start

    def due(self, what: str, interval: float) -> bool:
        now = self.seconds()
        if now - self._last.get(what, self._begin) < interval:
            return False
        self._last[what] = now
        return True


def make_optimizer(model: torch.nn.Module, recipe: Recipe, device: torch.device) -> torch.optim.AdamW:
    """AdamW with weight decay on matrices only (vectors are biases and gains, which it would only shrink)."""
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    groups = [
        {"params": [p for p in parameters if p.ndim >= 2], "weight_decay": recipe.weight_decay},
        {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
    ]
    present = [group for group in groups if group["params"]]
    return torch.optim.AdamW(present, lr=0.0, betas=recipe.betas, fused=device.type in ("cpu", "cuda"))


def held_out_loss(
    model: torch.nn.Module,
    held_out: Examples,
    loss_fn: LossFn,
    batch_examples: int,
    device: torch.device,
    autocast: Any,
) -> float:
    """Mean loss over all held-out examples, in evaluation mode, without gradients."""
    was_training, total, count = model.training, 0.0, 0
    model.eval()
    with torch.no_grad(), autocast:
        for batch in held_out.in_order(batch_examples):
            size = _batch_size(batch)
            total += batch_loss(model, to_device(batch, device), loss_fn).item() * size
            count += size
    model.train(was_training)
    return total / count


def weights_sha256(model: torch.nn.Module) -> str:
    """SHA-256 over names and bytes of all parameters and buffers."""
    digest = hashlib.sha256()
    for name, value in sorted(model.state_dict().items()):
        if isinstance(value, torch.Tensor):
            digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
            digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def to_device(batch: Any, device: torch.device) -> Any:
    """`batch` with every tensor on `device`, whatever tuples, lists and dicts it is nested in."""
    if isinstance(batch, torch.Tensor):
        return batch.to(device, non_blocking=True)
    if isinstance(batch, dict):
        return {key: to_device(value, device) for key, value in batch.items()}
    if isinstance(batch, tuple | list):
        return type(batch)(to_device(value, device) for value in batch)
    return batch


def _batch_size(batch: Any) -> int:
    if isinstance(batch, torch.Tensor):
        return len(batch)
    return _batch_size(next(iter(batch.values() if isinstance(batch, dict) else batch)))


def _device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
