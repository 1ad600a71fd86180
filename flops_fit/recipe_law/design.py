"""What the trials of a study may be: sizes and tokens at the cheap end, and where each recipe number begins."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from flops_fit.basics.files import read_value
from flops_fit.basics.formatting import format_flops
from flops_fit.basics.from_json import from_json
from flops_fit.errors import StudyError
from flops_fit.identity.fingerprints import content_hash
from flops_fit.recipe.published_rules import RULES
from flops_fit.recipe.recipe import Recipe
from flops_fit.recipe.tuning import Cell, Trial, Tuned, next_trials
from flops_fit.recipe_law.options import TuningOptions
from flops_fit.sweep.experiment import Experiment

SCHEMA = "flops_fit.tuning_design/1"
DEAREST = 0.15  # of the FLOPs of all trials, that one may take: the less far to the experiments, the surer the rule
LEVELS = (1 / 27, 1 / 9, 1 / 3, 1.0)  # of the dearest trial's: most of what is learnt is learnt where it is cheap
DEAR = (3.0, 9.0)  # levels of further trials, nearer to the experiments
SIZES, SPAN = 3, 3.0  # at each level, over N from centre / span to centre * span
_USUAL = {"weight_decay": 0.1, "warmup_fraction": 0.1, "final_fraction": 0.1}
# how far below and above its start a number may go: the rule is used at experiments far larger than the trials
_REACH = {
    "learning_rate": (1e3, 1e3),
    "batch_tokens": (1e5, 1e5),
    "weight_decay": (1e3, 1e2),
    "warmup_fraction": (30.0, 9.0),
    "final_fraction": (100.0, 10.0),
}


@dataclass(frozen=True, kw_only=True)
class TuningDesign:
    """What trials are chosen from, decided once: changing the budgets of a study later tunes nothing again.

    Attributes:
        cells: an experiment for each N and D that trials may have, without values of its own.
        dear: the same of further trials, where the recipe is not known well enough after the others.
        targets: N and D where the rule is going to be used.
        largest: of these that of the middle size at the largest budget, near which the optimum is expected.
        tuned: what is tuned, with start and bounds.
        trainings, flops: at most.
        study_flops: of the experiments that it was made for.
        tuned_for: fingerprint of the study's model, data, loss, recipe and [tuning].
    """

    cells: tuple[Experiment, ...]
    targets: tuple[tuple[float, float], ...]
    largest: tuple[float, float]
    tuned: tuple[Tuned, ...]
    trainings: int
    flops: float
    study_flops: float
    tuned_for: str
    dear: tuple[Experiment, ...] = ()

    @property
    def places(self) -> dict[Cell, Experiment]:
        """(N, D) → the experiment of it, of first and of further trials."""
        return {(float(cell.num_params), float(cell.num_tokens)): cell for cell in (*self.dear, *self.cells)}

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values under the schema `flops_fit.tuning_design/1`."""
        cells = {name: [cell.to_dict() for cell in getattr(self, name)] for name in ("cells", "dear")}
        return {"schema": SCHEMA, **asdict(self), **cells}

    @property
    def content_hash(self) -> str:
        """SHA-256 of all in it."""
        return content_hash(self.to_dict())

    @classmethod
    def load(cls, path: Path) -> TuningDesign:
        """Read what was written; raises `FileError` for a torn or changed file."""
        remedy = f"restore it from a copy, or rename the folder {path.parent} to tune anew"
        return read_value(path, SCHEMA, lambda content: from_json(cls, content, without=["schema"]), remedy)


def trial_budgets(flops: float, levels: Sequence[float] = LEVELS) -> tuple[float, ...]:
    """FLOPs of the trials' `levels`, where all trials together may take `flops`."""
    return tuple(float(f"{DEAREST * flops * level:.2e}") for level in levels)


def make_design(
    recipe: Recipe,
    options: TuningOptions,
    cells: Sequence[Experiment],
    grid: Sequence[Experiment],
    *,
    tokens_per_example: float,
    study_flops: float,
    tuned_for: str,
    dear: Sequence[Experiment] = (),
) -> TuningDesign:
    """The design of trials at `cells` for the experiments of `grid`; raises `StudyError` for fewer than two cells."""
    if len({(cell.num_params, cell.num_tokens) for cell in cells}) < 2:
        raise StudyError(
            f"the recipe cannot be tuned: trials of {options.share:.0%} of the study's {format_flops(study_flops)} "
            f"FLOPs admit {len(cells)} of the model's sizes; raise share in [tuning] or the budgets, lower trainings, "
            "or allow smaller sizes"
        )
    cheapest = min(cells, key=lambda cell: cell.planned_flops)
    dearest = max(item.compute_budget for item in grid)
    sizes = sorted((float(item.num_params), float(item.num_tokens)) for item in grid if item.compute_budget == dearest)
    return TuningDesign(
        cells=tuple(cells),
        targets=tuple(sorted({(float(item.num_params), float(item.num_tokens)) for item in grid})),
        largest=sizes[len(sizes) // 2],
        tuned=tuple(_tuned(name, recipe, options, cheapest, tokens_per_example) for name in recipe.tuned),
        trainings=options.trainings,
        flops=options.share * study_flops,
        study_flops=study_flops,
        tuned_for=tuned_for,
        dear=tuple(dear),
    )


def _tuned(name: str, recipe: Recipe, options: TuningOptions, cheapest: Experiment, tokens_per_example: float) -> Tuned:
    guess, known = _start(name, recipe, options, cheapest), name in options.bounds
    below, above = _REACH[name]
    low, high = options.bounds.get(name, (guess / below, guess * above))
    if name == "batch_tokens" and not known:
        low = max(float(tokens_per_example), guess / 4)  # a smaller one takes as many FLOPs and far more time
    if name == "warmup_fraction" and not known:
        high = 1 - recipe.decay_fraction if recipe.schedule == "wsd" else 0.9
    named = isinstance(options.start, Mapping) and name in options.start
    if not named:
        guess = min(max(guess, low), high)
    return Tuned(name=name, guess=guess, low=low, high=high)


def _start(name: str, recipe: Recipe, options: TuningOptions, cheapest: Experiment) -> float:
    if isinstance(options.start, Mapping):
        if name in options.start:
            return float(options.start[name])
    elif name in ("learning_rate", "batch_tokens"):
        rule = RULES[options.start]
        return float((rule.learning_rate if name == "learning_rate" else rule.batch_tokens)(cheapest))
    usual = Recipe() if "batch_tokens" in recipe.tuned else Recipe(batch_tokens=recipe.batch_tokens)
    if name == "learning_rate":
        return usual.peak_learning_rate(cheapest)
    return usual.tokens_per_step(cheapest) if name == "batch_tokens" else _USUAL[name]


def narrowed(tuned: Sequence[Tuned], cells: Sequence[Experiment], least_steps: int = 8) -> tuple[Tuned, ...]:
    """`tuned` for choosing trials: no batch of which the shortest trial has fewer than `least_steps`."""
    longest = min(cell.num_tokens for cell in cells) / least_steps
    return tuple(
        replace(item, high=max(longest, item.guess, math.nextafter(item.low, math.inf)))
        if item.name == "batch_tokens" and longest < item.high
        else item
        for item in tuned
    )


def suggested(
    design: TuningDesign,
    trials: Sequence[Trial],
    *,
    count: int,
    trials_left: int,
    flops_left: float,
    further: bool = False,
) -> tuple[Trial, ...]:
    """The next trials that can be paid, `count` at most; `further` ones may be dear, and aim at the largest."""
    allowed = {cell.experiment_id for cell in (*design.cells, *(design.dear if further else ()))}
    places = {
        place: cell
        for place, cell in design.places.items()
        if cell.experiment_id in allowed and cell.planned_flops <= flops_left
    }
    if min(count, trials_left) < 1 or not places:
        return ()
    chosen = next_trials(
        trials,
        [*places],
        narrowed(design.tuned, design.cells),
        count=min(count, trials_left),
        targets=[design.largest] if further else design.targets,
        trials_left=trials_left,
        flops_left=flops_left * max(6 * N * D / cell.planned_flops for (N, D), cell in places.items()),
    )
    spent = np.cumsum([places[trial.cell].planned_flops for trial in chosen])
    return chosen[: int((spent <= flops_left).sum())]
