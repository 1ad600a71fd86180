"""Rounds as data: what each was planned to train and why, kept once and never changed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from flops_fit.basics.files import read_value
from flops_fit.basics.from_json import NULL_IS_INFINITY, from_json
from flops_fit.basics.numbered import load_numbered, numbered_path, save_numbered
from flops_fit.identity.fingerprints import content_hash
from flops_fit.sweep.experiment import Experiment

SCHEMA = "flops_fit.round/1"


@dataclass(frozen=True, kw_only=True)
class Choice:
    """One experiment of a round, and why.

    Attributes:
        reason: in a sentence.
        width_before, width_after: half of the target's 90 % interval in logarithms without it, and as expected with it
            and those chosen before it (`target_width`); None where there was no law yet, or no finite interval.
        widths_after: the same of "N_opt" and "L_opt" each, in its own logarithm, where they are finite.
    """

    experiment: Experiment
    reason: str
    width_before: float | None = None
    width_after: float | None = None
    widths_after: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What the law said at the target: values and their 90 % intervals.

    Attributes:
        target_budget: FLOPs.
        runs: how many it was fitted to.
        flops: spent on all experiments until then.
        N_opt, loss: at the target; `loss` in nats.
        verdict_N_opt, verdict_loss: the law's own of these.
        supported: whether no finding is an error, however wide the intervals are.
    """

    target_budget: float
    runs: int
    flops: float
    N_opt: float
    N_opt_low: float
    N_opt_high: float = field(metadata=NULL_IS_INFINITY)
    loss: float
    loss_low: float
    loss_high: float = field(metadata=NULL_IS_INFINITY)
    verdict_N_opt: str
    verdict_loss: str
    supported: bool


@dataclass(frozen=True, kw_only=True)
class Round:
    """Experiments that were planned together.

    Attributes:
        number: from 1.
        target_budget, quantity: what they are to teach.
        planned_from: hash of the rounds and results that it was planned from.
        known: what the law said then; None before there was one.
    """

    number: int
    target_budget: float
    quantity: str
    planned_from: str
    choices: tuple[Choice, ...]
    known: Answer | None = None

    @property
    def experiments(self) -> list[Experiment]:
        """Its experiments, in the order in which they were chosen."""
        return [choice.experiment for choice in self.choices]

    @property
    def flops(self) -> float:
        """FLOPs of its experiments, as planned."""
        return sum(item.planned_flops for item in self.experiments)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values under the schema `flops_fit.round/1`."""
        content = {"schema": SCHEMA, **asdict(self)}
        for choice, kept in zip(self.choices, content["choices"], strict=True):
            kept["experiment"] = choice.experiment.to_dict()
        if self.known is not None:
            ends = ("N_opt_high", "loss_high")
            content["known"] |= {name: None for name in ends if math.isinf(getattr(self.known, name))}
        return content

    @property
    def content_hash(self) -> str:
        """SHA-256 of all in it."""
        return content_hash(self.to_dict())

    @classmethod
    def load(cls, path: Path) -> Round:
        """Read what `save_round` wrote; raises `FileError` for a torn or changed file."""
        remedy = (
            f"restore it from a copy, or rename the folder {path.parent} to plan anew from the first round: "
            "experiments that are chosen again are not trained again"
        )
        return read_value(path, SCHEMA, lambda content: from_json(cls, content, without=["schema"]), remedy)


def round_path(folder: Path, number: int) -> Path:
    """Where round `number` is kept."""
    return numbered_path(folder, number)


def save_round(folder: Path, item: Round) -> Path:
    """Write a new round, atomically; raises `FileError` where there is another one of its number."""
    return save_numbered(folder, item)


def load_rounds(folder: Path) -> tuple[Round, ...]:
    """The rounds in `folder`, in order; raises `FileError` where one is damaged or missing."""
    return load_numbered(folder, Round.load)


def experiments_of(rounds: Sequence[Round]) -> list[Experiment]:
    """All experiments, ordered by budget, then parameters."""
    found = [experiment for item in rounds for experiment in item.experiments]
    return sorted(found, key=lambda item: (item.compute_budget, item.num_params))
