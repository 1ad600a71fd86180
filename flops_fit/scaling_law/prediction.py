"""Prediction: the laws that a fitted law's answers come from, and how far off they may be beyond sampling error."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from flops_fit.scaling_law.candidates import Candidate, Rolling
from flops_fit.scaling_law.fitting.uncertainty import percentile_interval
from flops_fit.scaling_law.misfit import UNSEEN, Misfit, Miss, misfit_of
from flops_fit.scaling_law.mixture import mixed_loss
from flops_fit.scaling_law.table.runs import Runs

FORMS = ("auto", "chinchilla")


@dataclass(frozen=True, kw_only=True, eq=False)
class Prediction:
    """What answers come from.

    Attributes:
        bend_chance: of residuals like the five-parameter law's where that holds; None where it was asked for.
        asked: why it was, in words.
        candidates: the forms and windows that were tried, the best first; none without a bend.
        members: those that predict together, (members, 6); None where the five-parameter law does.
        draws: bootstrap refits of the members, (resamples, members, 6).
        members_with_E: the members refitted with the irreducible loss held at either end of its 90 % interval,
            (2, members, 6).
        noise: `ln L_pred - ln L` of the runs near the valley.
        misses: how the same procedure missed budgets left out.
        misfit: what that says of targets beyond the runs.
    """

    bend_chance: float | None = None
    candidates: tuple[Candidate, ...] = ()
    members: np.ndarray | None = None
    draws: np.ndarray | None = None
    noise: np.ndarray = field(default_factory=lambda: np.empty(0))
    misses: tuple[Miss, ...] = ()
    misfit: Misfit = field(default_factory=Misfit)
    asked: str = "as asked"
    members_with_E: np.ndarray | None = None

    @property
    def form(self) -> str:
        """ "chinchilla" (the five-parameter law) or "bent" (a mixture of candidates)."""
        return "chinchilla" if self.members is None else "bent"

    @property
    def description(self) -> str:
        """What answers come from, in words."""
        if self.bend_chance is None:
            return f"the five-parameter law, {self.asked}; intervals are about sampling error alone"
        if not self.candidates:
            return f"the five-parameter law, which has the shape of the runs (chance {self.bend_chance:.2g})"
        seen = f"the runs bend (chance {self.bend_chance:.1g})"
        if self.members is None:
            return f"the five-parameter law: {seen}, but are too few to say how; intervals are widened by its misfit"
        chosen = "; ".join(candidate.description for candidate in self.candidates if candidate.chosen)
        return f"{seen}: mean log loss of the {len(self.members)} best of {len(self.candidates)} laws ({chosen})"

    def spread(self, num_params: float, num_tokens: float) -> float:
        """Standard deviation of ln L over all candidates."""
        if not self.candidates:
            return 0.0
        each = np.array([candidate.parameters for candidate in self.candidates])[:, None, :]
        return float(np.std(np.log(mixed_loss(each, num_params, num_tokens))))

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "bend_chance": self.bend_chance,
            "candidates": [candidate.to_dict() for candidate in self.candidates],
            "members": None if self.members is None else self.members.tolist(),
            "draws": None if self.draws is None else self.draws.tolist(),
            "noise": self.noise.tolist(),
            "misses": [miss.to_dict() for miss in self.misses],
            "misfit": self.misfit.to_dict(),
            "asked": self.asked,
            "members_with_E": None if self.members_with_E is None else self.members_with_E.tolist(),
        }


def unbent(bend_chance: float) -> Prediction:
    """The five-parameter law's own, where the runs show no bend."""
    return Prediction(bend_chance=bend_chance, misfit=Misfit(widening=UNSEEN))


def bent(bend_chance: float, rolling: Rolling, runs: Runs, resamples: int, seed: int) -> tuple[Prediction, str]:
    """The chosen candidates', with their refits and what these are (`Rolling.refits`); the five-parameter law's with
    their misfit where runs are few."""
    misses = rolling.misses()
    shared: dict[str, Any] = {
        "bend_chance": bend_chance,
        "candidates": rolling.candidates(),
        "misses": misses,
        "misfit": misfit_of(misses),
    }
    if len(rolling.chosen()) == 1:
        return Prediction(**shared), ""
    members = rolling.members()
    near = rolling.near & (rolling.parts[0].weights[rolling.widest()] > 0)
    fitted = mixed_loss(members, runs.num_params[near], runs.num_tokens[near])
    draws, words = rolling.refits(resamples, seed)
    irreducible = np.exp(np.log(draws[:, :, 0]).mean(axis=1))
    ends = np.log(percentile_interval(irreducible, 0.9)) - np.log(members[:, 0]).mean()
    return Prediction(
        **shared,
        members=members,
        draws=draws,
        noise=np.log(fitted / runs.loss[near]),
        members_with_E=rolling.members_with_E(ends),
    ), words
