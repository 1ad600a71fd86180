"""The recipe that was found by trials: its rule, what it cost, and what speaks against it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flops_fit.basics.files import read_value, write_value
from flops_fit.basics.formatting import format_count, format_flops
from flops_fit.basics.from_json import from_json
from flops_fit.identity.fingerprints import content_hash
from flops_fit.recipe.tuning import RecipeLaw, Trial
from flops_fit.recipe_law.settling import MOST, TOLERATED_EXCESS, Settling

SCHEMA = "flops_fit.recipe_law/1"


@dataclass(frozen=True, kw_only=True)
class TunedRecipe:
    """The rule that was found, and what it was found from.

    Attributes:
        law: best value of each tuned quantity for N and D.
        trials: completed and diverged.
        left_out: id → reason of trials that ended otherwise.
        flops: spent on all trials.
        study_flops: of the experiments that the trials were designed for.
        largest: N and D of the middle size at the largest budget that it is for.
        tuned_for: fingerprint of the study that it is the recipe of.
        settling: further trials that would make it sure enough there; None where it is, or where none would.
    """

    law: RecipeLaw
    trials: tuple[Trial, ...]
    left_out: Mapping[str, str]
    flops: float
    study_flops: float
    largest: tuple[float, float]
    tuned_for: str
    settling: Settling | None = None

    def values(self, num_params: float, num_tokens: float) -> dict[str, float]:
        """The recipe's values there, to three digits: more would train again for a rounding error."""
        return {name: float(f"{self.law.value(name, num_params, num_tokens):.3g}") for name in self.law.names}

    @property
    def share(self) -> float:
        """FLOPs of the trials over those of the study that they were designed for."""
        return self.flops / self.study_flops

    @property
    def excess_at_largest(self) -> float:
        """The share of the loss expected to be lost there, because the best recipe is not known exactly."""
        return self.law.expected_excess(*self.largest)

    @property
    def excess_text(self) -> str:
        """What is expected to be lost at the largest, and where that is much, what it would cost to settle it."""
        N, D = self.largest
        said = f"{self.excess_at_largest:.2%} of the loss at {format_count(N)} parameters and {format_count(D)} tokens"
        if self.excess_at_largest <= TOLERATED_EXCESS:
            return said
        if self.settling is None:
            remedy = f"and further trials for {MOST:.0%} of the study would not bring it to {TOLERATED_EXCESS:.1%}"
            return f"{said}, {remedy}; give bounds or start in [tuning], or evaluate on more held-out data"
        more, share = self.settling, math.ceil(100 * self.settling.share) / 100
        price = f"about {more.trials} further trials, {format_flops(more.flops)} FLOPs, {more.share:.1%} of the study"
        return f"{said}; {price}, would bring it to {TOLERATED_EXCESS:.1%}: settle = {share:g} in [tuning]"

    @property
    def against(self) -> tuple[str, ...]:
        """What speaks against the rule, each with its remedy; empty where nothing does."""
        return tuple(f"{item.message}; {item.remedy}" for item in self.law.findings if item.severity != "info")

    @property
    def doubts(self) -> tuple[str, ...]:
        """`against`, and a loss to be lost at the largest that is more than `TOLERATED_EXCESS` of it."""
        much = self.excess_at_largest > TOLERATED_EXCESS
        return (*self.against, *([f"the tuned recipe is expected to lose {self.excess_text}"] if much else []))

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values under the schema `flops_fit.recipe_law/1`."""
        trials = [{**vars(trial), "values": dict(trial.values)} for trial in self.trials]
        law = {name: value for name, value in self.law.to_dict().items() if name != "schema"}
        settling = None if self.settling is None else vars(self.settling)
        own = {"law": law, "trials": trials, "left_out": dict(self.left_out), "settling": settling}
        return {"schema": SCHEMA, **vars(self), **own}

    @property
    def content_hash(self) -> str:
        """SHA-256 of all in it."""
        return content_hash(self.to_dict())

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> TunedRecipe:
        """Inverse of `to_dict`; raises `FileError` naming what is not valid."""
        return from_json(cls, content, "recipe law", without=["schema"])

    def save(self, path: Path) -> Path:
        """Write it, atomically."""
        return write_value(path, self.to_dict())

    @classmethod
    def load(cls, path: Path) -> TunedRecipe:
        """Read what `save` wrote; raises `FileError` for a torn or changed file."""
        return read_value(path, SCHEMA, cls.from_dict)
