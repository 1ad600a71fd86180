"""Checkpoints of a running experiment: safetensors, atomic, recognised as its own or set aside."""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from flops_fit.basics.files import set_aside, write_bytes
from flops_fit.errors import FlopsFitWarning

CHECKPOINT_SCHEMA = "flops_fit.checkpoint/1"
CHECKPOINT_FILE = "checkpoint.safetensors"


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How far a training has come: what resuming needs besides tensors."""

    step: int = 0
    examples: int = 0
    seconds: float = 0.0
    tail_loss_sum: float = 0.0  # over the last tenth of the steps


def save_checkpoint(
    path: str | os.PathLike[str],
    experiment_id: str,
    model: torch.nn.Module,
    optimizer: torch.optim.Optimizer,
    progress: Progress,
) -> None:
    """Write weights, optimizer and random state, and progress: a kill at any moment leaves the old file or the new."""
    tensors = {f"model/{name}": value for name, value in model.state_dict().items() if isinstance(value, torch.Tensor)}
    tensors |= _optimizer_tensors(optimizer)
    tensors["random/cpu"] = torch.get_rng_state()
    if torch.cuda.is_available():
        tensors["random/cuda"] = torch.cuda.get_rng_state()
    owned = {name: value.detach().cpu().contiguous().clone() for name, value in tensors.items()}
    about = {"schema": CHECKPOINT_SCHEMA, "experiment_id": experiment_id, "torch": torch.__version__}
    about["progress"] = json.dumps(vars(progress))
    write_bytes(path, save(owned, metadata=about))


def load_checkpoint(
    path: str | os.PathLike[str],
    experiment_id: str,
    model: torch.nn.Module,
    optimizer: torch.optim.Optimizer,
) -> Progress | None:
    """Put the training back where the checkpoint left it; None where there is none that can be used.

    A checkpoint that is torn, of another experiment or of another torch version is renamed, with a warning, and the
    training starts again.
    """
    path = Path(path)
    if not path.exists():
        return None
    try:
        tensors, about = _read(path)
        problem = _mismatch(about, experiment_id)
    except (SafetensorError, OSError) as error:
        problem = f"is torn ({error})"
    if problem:
        kept = set_aside(path)
        warnings.warn(f"{path} {problem}; kept as {kept.name}, training starts again", FlopsFitWarning, stacklevel=2)
        return None
    _restore(tensors, model, optimizer)
    return Progress(**json.loads(about["progress"]))


def _read(path: Path) -> tuple[dict[str, torch.Tensor], Mapping[str, str]]:
    with safe_open(path, framework="pt") as file:
        return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118


def _mismatch(about: Mapping[str, str], experiment_id: str) -> str | None:
    expected = {"schema": CHECKPOINT_SCHEMA, "experiment_id": experiment_id, "torch": torch.__version__}
    for name, value in expected.items():
        if about.get(name) != value:
            return f"is of {name} {about.get(name)!r}, not {value!r}"
    return None


def _optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, torch.Tensor]:
    return {
        f"optimizer/{index}/{name}": value
        for index, state in optimizer.state_dict()["state"].items()
        for name, value in state.items()
    }


def _restore(tensors: Mapping[str, torch.Tensor], model: torch.nn.Module, optimizer: torch.optim.Optimizer) -> None:
    model.load_state_dict(
        {name[len("model/") :]: value for name, value in tensors.items() if name.startswith("model/")}
    )
    state: dict[int, dict[str, Any]] = {}
    for name, value in tensors.items():
        if name.startswith("optimizer/"):
            _, index, key = name.split("/", 2)
            state.setdefault(int(index), {})[key] = value
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
    torch.set_rng_state(tensors["random/cpu"])
    if "random/cuda" in tensors and torch.cuda.is_available():
        torch.cuda.set_rng_state(tensors["random/cuda"])
