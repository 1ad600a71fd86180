"""Rounds of trials as data: what each was planned to train, kept once and never changed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from flops_fit.basics.files import read_value, write_value
from flops_fit.basics.from_json import from_json
from flops_fit.basics.numbered import load_numbered, save_numbered
from flops_fit.identity.fingerprints import content_hash
from flops_fit.recipe_law.design import TuningDesign
from flops_fit.sweep.experiment import Experiment

SCHEMA = "flops_fit.tuning_round/1"
_DESIGN_FILE = "design.json"


@dataclass(frozen=True, kw_only=True)
class TuningRound:
    """Trials that were chosen together.

    Attributes:
        number: from 1.
        planned_from: hash of the design, the rounds and the results that it was chosen from.
        experiments: with the values that each tries.
    """

    number: int
    planned_from: str
    experiments: tuple[Experiment, ...]

    @property
    def flops(self) -> float:
        """FLOPs of its experiments, as planned."""
        return sum(item.planned_flops for item in self.experiments)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values under the schema `flops_fit.tuning_round/1`."""
        return {"schema": SCHEMA, **asdict(self), "experiments": [item.to_dict() for item in self.experiments]}

    @property
    def content_hash(self) -> str:
        """SHA-256 of all in it."""
        return content_hash(self.to_dict())

    @classmethod
    def load(cls, path: Path) -> TuningRound:
        """Read what was written; raises `FileError` for a torn or changed file."""
        remedy = (
            f"restore it from a copy, or rename the folder {path.parent} to tune anew: what is chosen again is kept"
        )
        return read_value(path, SCHEMA, lambda content: from_json(cls, content, without=["schema"]), remedy)


def trials_of(rounds: Sequence[TuningRound]) -> list[Experiment]:
    """All experiments of `rounds`, in their order."""
    return [experiment for item in rounds for experiment in item.experiments]


def save_tuning(folder: Path, design: TuningDesign, item: TuningRound) -> list[Path]:
    """Write a new round, and with the first one the design; returns the files."""
    first = [write_value(folder / _DESIGN_FILE, design.to_dict())] if item.number == 1 else []
    return [*first, save_numbered(folder, item)]


def load_tuning(folder: Path) -> tuple[TuningDesign | None, tuple[TuningRound, ...]]:
    """Design and rounds in `folder`; no design where there is no round. Raises `FileError` for a damaged file."""
    rounds = load_numbered(folder, TuningRound.load)
    return (TuningDesign.load(folder / _DESIGN_FILE) if rounds else None), rounds
