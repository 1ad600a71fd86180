"""How an experiment's examples fall into optimizer steps."""

from __future__ import annotations

from dataclasses import dataclass

from flops_fit.errors import DataError
from flops_fit.recipe.recipe import Recipe
from flops_fit.sweep.experiment import Experiment


@dataclass(frozen=True, kw_only=True)
class Steps:
    """How the experiment's examples fall into optimizer steps: sizes differ by at most one, nothing is left over."""

    examples: int
    steps: int

    def end(self, step: int) -> int:
        """Examples seen once `step` steps are done."""
        return self.examples * step // self.steps

    def progress(self, step: int) -> float:
        """The middle of step number `step` (from 0) as a share of the run."""
        return (self.end(step) + self.end(step + 1)) / (2 * self.examples)


def plan_steps(recipe: Recipe, experiment: Experiment, tokens_per_example: float) -> Steps:
    """Steps of `experiment`; raises `DataError` where its tokens are less than one example."""
    num_tokens = experiment.num_tokens
    is_whole = float(tokens_per_example).is_integer()  # else its tokens were rounded
    examples = int(num_tokens // tokens_per_example) if is_whole else round(num_tokens / tokens_per_example)
    if examples < 1:
        raise DataError(f"{num_tokens} tokens are less than one example of {tokens_per_example:.4g}; raise the budget")
    batch = max(1.0, recipe.tokens_per_step(experiment) / tokens_per_example)
    return Steps(examples=examples, steps=max(1, round(examples / batch)))
