"""The trunk that experiments of a size share, in parts: each with batch and rate of a training that ends there.

A trunk does not know how long its branches will be. So the recipe's rules, which give longer trainings larger batches,
are read at the tokens that it has seen: at `Experiment.recipe_tokens` until it has seen these, then again whenever it
has seen `GROWTH` times as many. All of it follows from the size, the recipe and the tokens seen, and from no budget.
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from flops_fit.recipe.recipe import AUTO, Recipe
from flops_fit.sweep.experiment import Experiment

GROWTH = 1.25


@dataclass(frozen=True, kw_only=True)
class TrunkPart:
    """Steps of a trunk that are alike.

    Attributes:
        step, examples: done before it.
        batch: examples of each of its steps.
        rate: its learning rate over that of the first part.
        second_beta: AdamW's, where the recipe has it "auto".
    """

    step: int
    examples: int
    batch: int
    rate: float
    second_beta: float | None


def trunk_parts(
    recipe: Recipe, experiment: Experiment, tokens_per_example: float, examples: float
) -> tuple[TrunkPart, ...]:
    """The parts of the trunk of `experiment` that begin before it has seen `examples`, at least one."""
    first, step, seen = experiment.for_recipe.num_tokens, 0, 0
    peak, is_auto = recipe.peak_learning_rate(experiment), recipe.optimizer == "adamw" and recipe.betas[1] == AUTO
    parts: list[TrunkPart] = []
    while not parts or seen < examples:
        tokens = first * GROWTH ** len(parts)
        there = replace(experiment, recipe_tokens=round(tokens))
        part = TrunkPart(
            step=step,
            examples=seen,
            batch=max(1, round(recipe.tokens_per_step(there) / tokens_per_example)),
            rate=recipe.peak_learning_rate(there) / peak,
            second_beta=recipe.of(there).betas[1] if is_auto else None,
        )
        parts.append(part)
        until = GROWTH * tokens / tokens_per_example
        steps = max(1, math.ceil((until - seen) / part.batch))
        step, seen = step + steps, seen + steps * part.batch
    return tuple(parts)


def at_branch(recipe: Recipe, experiment: Experiment) -> Experiment:
    """`experiment` as the recipe's rules see it where it leaves its trunk; itself where it shares none."""
    first, last = experiment.recipe_tokens, (1.0 - recipe.decay_fraction) * experiment.num_tokens
    if not recipe.share_trunk or first is None or last <= first:
        return experiment
    return replace(experiment, recipe_tokens=round(first * GROWTH ** int(math.log(last / first, GROWTH))))


def part_of(parts: Sequence[TrunkPart], step: int) -> TrunkPart:
    """The part that step number `step` (from 0) is of."""
    return parts[bisect.bisect_right(parts, step, key=lambda part: part.step) - 1]
