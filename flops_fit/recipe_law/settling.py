"""Where the best recipe is not known well enough at the largest experiment: what further trials would settle it.

The trials are played, not trained: they are chosen as real ones would be, each with the loss that the law expects of it
and a training's noise, until the law is sure enough or too much would be spent.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import median

import numpy as np

from flops_fit.recipe.tuning import RecipeLaw, Trial, fit_recipe_law
from flops_fit.recipe_law.design import TuningDesign, suggested

TOLERATED_EXCESS = 0.005  # of the loss
MOST = 0.2  # of the study's FLOPs: further trials that take more are not worth their price
FURTHER = 40  # trials at most
TOGETHER, SEED = 5, 20262


@dataclass(frozen=True, kw_only=True)
class Settling:
    """Further trials, as they would be: how many, their FLOPs, and what they are of the study's."""

    trials: int
    flops: float
    share: float


def price_of_settling(design: TuningDesign, trials: Sequence[Trial], law: RecipeLaw) -> Settling | None:
    """What would bring the loss expected to be lost at the largest experiment to `TOLERATED_EXCESS`.

    None where `FURTHER` trials or `MOST` of the study would not.
    """
    random, left = np.random.default_rng(SEED), MOST * design.study_flops
    played: list[Trial] = []
    while chosen := suggested(
        design, [*trials, *played], count=TOGETHER, trials_left=FURTHER - len(played), flops_left=left,
        further=True,
    ):  # fmt: skip
        played += [_played(trial, trials, law, float(random.standard_normal())) for trial in chosen]
        left -= sum(design.places[trial.cell].planned_flops for trial in chosen)
        if fit_recipe_law([*trials, *played], design.tuned).expected_excess(*design.largest) <= TOLERATED_EXCESS:
            spent = MOST * design.study_flops - left
            return Settling(trials=len(played), flops=spent, share=spent / design.study_flops)
    return None


def _played(trial: Trial, trained: Sequence[Trial], law: RecipeLaw, normal: float) -> Trial:
    """`trial` with a loss as the law expects it and noise of `normal` sd; of a new cell any level will do."""
    there = [item.loss / (1 + law.excess(item.values, *item.cell)) for item in trained
             if item.cell == trial.cell and item.loss]  # fmt: skip
    level, noise = median(there or [1.0]), math.exp(law.noise * normal)
    return replace(trial, loss=level * (1 + law.excess(trial.values, *trial.cell)) * noise)
