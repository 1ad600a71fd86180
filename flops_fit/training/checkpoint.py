"""Checkpoints of a running experiment: safetensors, atomic, recognised as its own or set aside."""

from __future__ import annotations

import hashlib
import json
import os
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from flops_fit.basics.files import set_aside, write_bytes
from flops_fit.errors import FlopsFitWarning
from flops_fit.training.evaluation import tensors_sha256
from flops_fit.training.optimizer import ScheduledOptimizer
from flops_fit.training.optimizer_state import group_sizes, put_back, taken_apart

if TYPE_CHECKING:
    from flops_fit.sweep.experiment import Experiment

CHECKPOINT_SCHEMA = "flops_fit.checkpoint/2"
CHECKPOINT_FILE = "checkpoint.safetensors"


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How far a training has come: what resuming needs besides tensors."""

    step: int = 0
    examples: int = 0
    seconds: float = 0.0
    tail_loss_sum: float = 0.0  # over the last tenth of the steps
    taken_over: int = 0  # examples that another experiment had trained, of the same trunk
    taken_steps: int = 0  # in so many steps
    taken_seconds: float = 0.0  # and seconds
    stacked: int = 0  # trainings that took their steps together, at most, this one among them; 0 where none did


def save_checkpoint(
    path: str | os.PathLike[str],
    experiment: Experiment,
    model: torch.nn.Module,
    optimizer: ScheduledOptimizer,
    progress: Progress,
) -> None:
    """Write weights, optimizer and random state, and progress, with a checksum of it all.

    A kill at any moment leaves the old file or the new.
    """
    save_state(path, _made_by(experiment), model, optimizer, progress)


def save_state(
    path: str | os.PathLike[str],
    made_by: Mapping[str, str],
    model: torch.nn.Module,
    optimizer: ScheduledOptimizer,
    progress: Progress,
) -> None:
    """`save_checkpoint` of what is known as `made_by`."""
    tensors = {f"model/{name}": value for name, value in model.state_dict().items() if isinstance(value, torch.Tensor)}
    optimizer_state, of_optimizer = taken_apart(optimizer)
    tensors |= of_optimizer
    tensors["random/cpu"] = torch.get_rng_state()
    if torch.cuda.is_available():
        tensors["random/cuda"] = torch.cuda.get_rng_state()
    owned = {name: value.detach().cpu().contiguous().clone() for name, value in tensors.items()}
    about = {**made_by, "progress": json.dumps(vars(progress)), "optimizer": optimizer_state}
    about["checksum"] = _checksum(owned, about)
    write_bytes(path, save(owned, metadata=about))


def load_checkpoint(
    path: str | os.PathLike[str],
    experiment: Experiment,
    model: torch.nn.Module,
    optimizer: ScheduledOptimizer,
) -> Progress | None:
    """Put the training back where the checkpoint left it; None where there is none that can be used.

    A checkpoint that is torn or damaged, of another experiment, of another study, of another torch version, or that
    does not fit the model is renamed, with a warning, and the training starts again. Raises `StudyError` where the
    optimizer takes back another state than it gave.
    """
    return load_state(path, _made_by(experiment), model, optimizer, "training starts again")


def load_state(
    path: str | os.PathLike[str],
    made_by: Mapping[str, str],
    model: torch.nn.Module,
    optimizer: ScheduledOptimizer,
    otherwise: str,
) -> Progress | None:
    """`load_checkpoint` of what is known as `made_by`; `otherwise` says what is done without it."""
    path = Path(path)
    if not path.exists():
        return None
    try:
        tensors, about = _read(path)
        problem = _mismatch(tensors, about, made_by) or _misfit(tensors, about, model, optimizer)
    except (SafetensorError, OSError) as error:
        problem = f"is torn ({error})"
    if problem:
        kept = set_aside(path)
        warnings.warn(f"{path} {problem}; kept as {kept.name}, {otherwise}", FlopsFitWarning, stacklevel=3)
        return None
    _restore(tensors, about["optimizer"], model, optimizer)
    return Progress(**json.loads(about["progress"]))


def said_by_state(path: str | os.PathLike[str]) -> Mapping[str, str]:
    """What the file of a state says of itself."""
    with safe_open(path, framework="pt") as file:
        return file.metadata() or {}


def _made_by(experiment: Experiment) -> dict[str, str]:
    return {
        "schema": CHECKPOINT_SCHEMA,
        "experiment_id": experiment.experiment_id,
        "outcome_fingerprint": experiment.outcome_fingerprint,
        "torch": torch.__version__,
    }


def _checksum(tensors: Mapping[str, torch.Tensor], about: Mapping[str, str]) -> str:
    told = f"{about.get('progress', '')} {about.get('optimizer', '')}"
    return hashlib.sha256(f"{tensors_sha256(tensors)} {told}".encode()).hexdigest()


def _read(path: Path) -> tuple[dict[str, torch.Tensor], Mapping[str, str]]:
    with safe_open(path, framework="pt") as file:
        return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118


def _mismatch(tensors: Mapping[str, torch.Tensor], about: Mapping[str, str], made_by: Mapping[str, str]) -> str | None:
    """What it was made by that this training is not, or that it is not as it was written."""
    for name, value in made_by.items():
        if about.get(name) != value:
            return f"is of {name} {about.get(name)!r}, not {value!r}"
    if about.get("checksum") != _checksum(tensors, about):
        return "is damaged (its checksum differs)"
    return None


def _misfit(
    tensors: Mapping[str, torch.Tensor],
    about: Mapping[str, str],
    model: torch.nn.Module,
    optimizer: ScheduledOptimizer,
) -> str | None:
    """What of the model or the optimizer has no tensor of its shape, or the other way round."""
    wanted = {f"model/{name}": value for name, value in model.state_dict().items() if isinstance(value, torch.Tensor)}
    for name in sorted(wanted.keys() | {name for name in tensors if name.startswith("model/")}):
        found, needed = (_shape(group.get(name)) for group in (tensors, wanted))
        if found != needed:
            return f"has {found} for {name} where the model has {needed}"
    kept, there = group_sizes(about["optimizer"]), [len(group["params"]) for group in optimizer.groups]
    if kept != there:
        return f"has optimizer groups of {kept} parameters where the optimizer has {there}"
    return None if "random/cpu" in tensors else "has no random state"


def _shape(tensor: torch.Tensor | None) -> str:
    return "nothing" if tensor is None else f"{str(tensor.dtype).removeprefix('torch.')}{tuple(tensor.shape)}"


def _restore(
    tensors: Mapping[str, torch.Tensor], optimizer_state: str, model: torch.nn.Module, optimizer: ScheduledOptimizer
) -> None:
    weights = {name[len("model/") :]: value for name, value in tensors.items() if name.startswith("model/")}
    model.load_state_dict({**model.state_dict(), **weights})  # what of it is no tensor stays as it is
    put_back(optimizer, optimizer_state, tensors)
    torch.set_rng_state(tensors["random/cpu"])
    if "random/cuda" in tensors and torch.cuda.is_available():
        torch.cuda.set_rng_state(tensors["random/cuda"])
