"""How an experiment's examples fall into optimizer steps, and at which rate each is taken."""

from __future__ import annotations

from dataclasses import dataclass

from flops_fit.errors import DataError
from flops_fit.recipe.recipe import Recipe
from flops_fit.recipe.trunk_parts import TrunkPart, part_of, trunk_parts
from flops_fit.sweep.experiment import Experiment


@dataclass(frozen=True, kw_only=True)
class Steps:
    """How the experiment's examples fall into optimizer steps: sizes differ by at most one, nothing is left over."""

    examples: int
    steps: int

    @property
    def mean_examples(self) -> int:
        """Examples of a step, in the mean of all, in whole ones."""
        return self.examples // self.steps

    def end(self, step: int) -> int:
        """Examples seen once `step` steps are done."""
        return self.examples * step // self.steps

    def progress(self, step: int) -> float:
        """The middle of step number `step` (from 0) as a share of the run."""
        return (self.end(step) + self.end(step + 1)) / (2 * self.examples)

    def rate_factor(self, recipe: Recipe, step: int) -> float:
        """Learning rate over the experiment's peak at step number `step` (from 0)."""
        return recipe.schedule_factor(self.progress(step))

    @property
    def highest_factor(self) -> float:
        """The learning rate over the experiment's peak at its highest."""
        return 1.0

    def second_beta(self, step: int) -> float | None:
        """AdamW's second beta at step number `step` where that changes on the way."""
        return None

    @property
    def tail_start(self) -> int:
        """The step from which on training losses enter the mean at the end: that of the last tenth."""
        return self.steps - max(1, self.steps // 10)


@dataclass(frozen=True, kw_only=True)
class BranchSteps(Steps):
    """Steps of an experiment that shares a trunk: up to `branch` they follow from the size and the step alone.

    Attributes:
        parts: of the trunk, the last of them that in which it is left.
        branch: steps of the trunk, after which the rate falls; those after it differ in examples by at most one.
        warmup: examples over which the rate rises from 0.
    """

    parts: tuple[TrunkPart, ...]
    branch: int
    warmup: float

    def end(self, step: int) -> int:
        """Examples seen once `step` steps are done."""
        if step > self.branch:
            before = self.end(self.branch)
            return before + (self.examples - before) * (step - self.branch) // (self.steps - self.branch)
        part = part_of(self.parts, step)
        return part.examples + part.batch * (step - part.step)

    def rate_factor(self, recipe: Recipe, step: int) -> float:
        """Learning rate over that of the first part at step number `step` (from 0): that of its part of the trunk, and
        from the branch on down to `final_fraction` of it, linearly."""
        middle, before = (self.end(step) + self.end(step + 1)) / 2, self.end(self.branch)
        if step < self.branch:
            return self._risen(middle) * part_of(self.parts, step).rate
        falling = (middle - before) / (self.examples - before)
        left = recipe.final_fraction + (1.0 - recipe.final_fraction) * (1.0 - falling)
        return self._risen(before) * self.parts[-1].rate * left

    @property
    def highest_factor(self) -> float:
        """As of `Steps`."""
        return max(part.rate for part in self.parts)

    def _risen(self, examples: float) -> float:
        return min(1.0, examples / self.warmup) if self.warmup > 0 and self.branch > 0 else 1.0

    def second_beta(self, step: int) -> float | None:
        """As of `Steps`."""
        return part_of(self.parts, step).second_beta

    @property
    def tail_start(self) -> int:
        """As of `Steps`, and not in the trunk."""
        return max(self.branch, super().tail_start)


def plan_steps(recipe: Recipe, experiment: Experiment, tokens_per_example: float) -> Steps:
    """Steps of `experiment`; raises `DataError` where its tokens are less than one example."""
    num_tokens = experiment.num_tokens
    is_whole = float(tokens_per_example).is_integer()  # else its tokens were rounded
    examples = int(num_tokens // tokens_per_example) if is_whole else round(num_tokens / tokens_per_example)
    if examples < 1:
        raise DataError(f"{num_tokens} tokens are less than one example of {tokens_per_example:.4g}; raise the budget")
    if recipe.share_trunk:
        return _branching(recipe, experiment, examples, tokens_per_example)
    batch = max(1.0, recipe.tokens_per_step(experiment) / tokens_per_example)
    return Steps(examples=examples, steps=max(1, round(examples / batch)))


def _branching(recipe: Recipe, experiment: Experiment, examples: int, tokens_per_example: float) -> BranchSteps:
    latest = (1.0 - recipe.decay_fraction) * examples
    parts = trunk_parts(recipe, experiment, tokens_per_example, latest)
    last = parts[-1]
    in_last = int(latest - last.examples) // last.batch
    falling = examples - last.examples - last.batch * in_last
    branch = last.step + in_last
    return BranchSteps(
        examples=examples,
        steps=branch + max(1, round(falling / last.batch)),
        parts=parts,
        branch=branch,
        warmup=recipe.warmup_fraction * experiment.for_recipe.num_tokens / tokens_per_example,
    )
