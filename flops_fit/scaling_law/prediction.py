"""Prediction: the laws that a fitted law's answers come from, and how far off they may be beyond sampling error."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from flops_fit.scaling_law.anchor import Move
from flops_fit.scaling_law.candidates import Candidate, Rolling
from flops_fit.scaling_law.fitting.shape import BEND
from flops_fit.scaling_law.fitting.uncertainty import percentile_interval
from flops_fit.scaling_law.misfit import Misfit, Miss, hidden, misfit_of
from flops_fit.scaling_law.mixture import as_members, mixed_loss
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
        moved: what the members were moved by to meet the runs at the largest compute (`anchor`).
        noise: `ln L_pred - ln L` of the runs near the valley.
        misses: how the same procedure missed budgets left out.
        misfit: what that says of targets beyond the runs.
    """

    bend_chance: float | None = None
    candidates: tuple[Candidate, ...] = ()
    members: np.ndarray | None = None
    draws: np.ndarray | None = None
    moved: Move = field(default_factory=Move)
    noise: np.ndarray = field(default_factory=lambda: np.empty(0))
    misses: tuple[Miss, ...] = ()
    misfit: Misfit = field(default_factory=Misfit)
    asked: str = "as asked"
    members_with_E: np.ndarray | None = None

    @property
    def form(self) -> str:
        """ "chinchilla" (the five-parameter law), "moved" (the same, moved onto the largest budget) or "bent" (a
        mixture of candidates, moved alike)."""
        if self.members is None:
            return "chinchilla"
        return "moved" if len(self.members) == 1 else "bent"

    @property
    def description(self) -> str:
        """What answers come from, in words."""
        if self.bend_chance is None:
            return f"the five-parameter law, {self.asked}; intervals are about sampling error alone{self._widened()}"
        if not self.candidates:
            return f"the five-parameter law, which has the shape of the runs (chance {self.bend_chance:.2g})"
        seen = f"the runs {'bend' if self.bend_chance < BEND else 'may bend'} (chance {self.bend_chance:.1g})"
        loss, size, E = np.exp([self.moved.log_loss, self.moved.log_size, self.moved.log_E])
        of, and_E = ("loss above E", "") if self.moved.keeps_E else ("loss", f", E x{E:.3f}")
        onto = f"moved onto the runs at the largest compute ({of} x{loss:.3f}, N x{size:.2f}{and_E})"
        if self.form == "moved":
            but = ", but are too few to say how" if self.bend_chance < BEND else ""
            return f"the five-parameter law, {onto}: {seen}{but}"
        chosen = [candidate.description for candidate in self.candidates if candidate.chosen]
        best = f"the {len(chosen)} best of {len(self.candidates)} laws ({'; '.join(chosen)})"
        return f"{seen}: mean log loss of {best}, {onto}"

    def _widened(self) -> str:
        """By what the answers' resamples are widened, of a law whose misfit beyond that is not known."""
        wider = self.misfit.widening
        return "" if wider == 1 else f", those of answers {wider:g} times as wide as their resamples"

    def spread(self, num_params: float, num_tokens: float) -> float:
        """Standard deviation of ln L over the chosen candidates, as they were fitted and as they were moved."""
        if self.members is None:
            return 0.0
        losses = mixed_loss(self.members[:, None, :], num_params, num_tokens)  # all are moved by much the same
        return float(np.hypot(np.std(np.log(losses)), self.moved.on_loss(self.members, num_params, num_tokens) / 2))

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "bend_chance": self.bend_chance,
            "candidates": [candidate.to_dict() for candidate in self.candidates],
            "members": None if self.members is None else self.members.tolist(),
            "draws": None if self.draws is None else self.draws.tolist(),
            "moved": asdict(self.moved),
            "noise": self.noise.tolist(),
            "misses": [miss.to_dict() for miss in self.misses],
            "misfit": self.misfit.to_dict(),
            "asked": self.asked,
            "members_with_E": None if self.members_with_E is None else self.members_with_E.tolist(),
        }


def unbent(bend_chance: float, runs: Runs) -> Prediction:
    """The five-parameter law's own, where the runs show no bend."""
    return Prediction(bend_chance=bend_chance, misfit=hidden(runs.span))


def bent(
    bend_chance: float, rolling: Rolling, own: np.ndarray, own_draws: np.ndarray, resamples: int, seed: int
) -> tuple[Prediction, str]:
    """The chosen candidates', with their refits and what these are (`Rolling.refits`); where runs are few that of the
    law's `own` parameters (5,) and `own_draws` (resamples, 5). Either is moved onto the largest budget."""
    misses, runs = rolling.misses(), rolling.runs
    few = len(rolling.chosen()) == 1
    fitted = as_members(own) if few else rolling.fitted()
    refits, words = (as_members(own_draws), "") if few else rolling.refits(resamples, seed)
    anchor = rolling.anchor(own=fitted)
    near = rolling.near & (few | (rolling.parts[0].weights[rolling.widest()] > 0))
    predicted = mixed_loss(anchor.members, runs.num_params[near], runs.num_tokens[near])
    draws = anchor.draws(refits, fitted, runs, seed + 3)
    prediction = Prediction(
        bend_chance=bend_chance,
        candidates=rolling.candidates(),
        members=anchor.members,
        draws=draws,
        moved=anchor.move,
        members_with_E=None if few else anchor.move(_with_E(rolling, anchor.members, draws)),
        noise=np.log(predicted / runs.loss[near]),
        misses=misses,
        misfit=misfit_of(misses, runs.span),
    )
    return prediction, words


def _with_E(rolling: Rolling, members: np.ndarray, draws: np.ndarray) -> np.ndarray:
    """The chosen refitted with their irreducible loss as far off as the ends of its 90 % interval, (2, members, 6)."""
    irreducible = np.exp(np.log(draws[:, :, 0]).mean(axis=1))
    ends = np.log(percentile_interval(irreducible, 0.9)) - np.log(members[:, 0]).mean()
    return rolling.members_with_E(ends)
