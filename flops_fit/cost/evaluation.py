"""What the evaluation at the end of each training takes: forward passes over everything held out."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flops_fit.recipe.recipe import Recipe
    from flops_fit.sweep.experiment import Experiment

FORWARD_SHARE = 1 / 3  # of the FLOPs of a token of training, the other two of which are the backward pass's


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """Units of data that are evaluated at the end of a training, and in how many batches."""

    tokens: float
    batches: int

    def flops(self, experiment: Experiment) -> float:
        """Of the whole evaluation of that experiment."""
        return FORWARD_SHARE * self.tokens * experiment.flops_per_token


def evaluation_of(
    held_out_examples: list[int | None], recipe: Recipe, tokens_per_example: float, passes: int = 1
) -> Evaluation:
    """Of held-out sets of so many examples (None of one whose length is not known, which counts as nothing), each gone
    through `passes` times."""
    known = [count for count in held_out_examples if count]
    batches = sum(math.ceil(count / recipe.eval_batch_examples) for count in known)
    return Evaluation(tokens=passes * sum(known) * tokens_per_example, batches=passes * batches)
