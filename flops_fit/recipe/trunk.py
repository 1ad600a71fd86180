"""What experiments that share trunks train themselves, and what of that they would train without sharing."""

from __future__ import annotations

import bisect
import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from flops_fit.basics.formatting import format_flops
from flops_fit.recipe.recipe import Recipe
from flops_fit.recipe.steps import BranchSteps, plan_steps
from flops_fit.sweep.experiment import Experiment
from flops_fit.sweep.order import longest_first

_BRANCH = " experiments branch from "  # what is in every note about sharing


@dataclass(frozen=True, kw_only=True)
class OwnPart:
    """What an experiment trains itself: from where it takes up its trunk.

    Attributes:
        steps, examples: that it trains.
        share: of its examples, and so of its FLOPs; of its steps another, as these differ.
    """

    steps: int
    examples: int
    share: float


def own_parts(
    recipe: Recipe,
    experiments: Iterable[Experiment],
    tokens_per_example: float = 1,
    taken: Mapping[str, int] | None = None,
    kept: Mapping[str, Collection[int]] | None = None,
) -> Mapping[str, OwnPart]:
    """Experiment id → what it trains itself, where they are trained in the order of `longest_first`.

    So the longest of each trunk trains it, and the others from where they leave it. In another order each has another
    part, of the same sum. Those without a trunk are not in it, nor those of fewer tokens than an example; of a recipe
    without trunks none is.

    Args:
        taken: id → of the tokens of one that is finished, those that others had trained
            (`ExperimentResult.trunk_tokens`). It has trained the rest, and others go on from where it left the trunk.
        kept: trunk → the steps after which states of it are kept. Of a trunk that is not in it the finished ones are
            taken to have left states for all of `experiments`.
    """
    found: dict[str, OwnPart] = {}
    for trunk, mine in by_trunk(experiments if recipe.share_trunk else ()).items():
        steps = {
            item.experiment_id: _branching(recipe, item, tokens_per_example)
            for item in longest_first(mine)
            if item.num_tokens >= tokens_per_example
        }
        done = {name: tokens / tokens_per_example for name, tokens in (taken or {}).items() if name in steps}
        starts = _starts(steps, done, (kept or {}).get(trunk))
        found |= {name: _from(steps[name], start) for name, start in starts.items()}
    return found


def _branching(recipe: Recipe, experiment: Experiment, tokens_per_example: float) -> BranchSteps:
    steps = plan_steps(recipe, experiment, tokens_per_example)
    assert isinstance(steps, BranchSteps)
    return steps


def _starts(
    steps: Mapping[str, BranchSteps], done: Mapping[str, float], kept: Collection[int] | None
) -> dict[str, int]:
    """At which of its steps each experiment of a trunk takes it up, in the order of `steps`; those `done`, by id, after
    these examples of others."""
    found = {name: _step_after(steps[name], round(examples)) for name, examples in done.items()}
    wanted = {steps[name].branch for name in steps}
    reached = max((steps[name].branch for name in done), default=0)
    left_at = {0, *((step for step in wanted if step <= reached) if kept is None else kept)}
    for name in (name for name in steps if name not in done):
        branch = steps[name].branch
        found[name] = max(step for step in left_at if step <= branch)
        left_at |= {step for step in wanted if found[name] < step <= branch}
    return found


def _step_after(steps: BranchSteps, examples: int) -> int:
    return min(steps.branch, bisect.bisect_left(range(steps.branch + 1), examples, key=steps.end))


def _from(steps: BranchSteps, start: int) -> OwnPart:
    own, examples = steps.steps - start, steps.examples - steps.end(start)
    return OwnPart(steps=own, examples=examples, share=examples / steps.examples)


def by_trunk(experiments: Iterable[Experiment]) -> dict[str, list[Experiment]]:
    """Trunk → its experiments from the shortest to the longest; those without one are left out."""
    found: dict[str, list[Experiment]] = {}
    for item in sorted(experiments, key=lambda item: item.num_tokens):
        if item.trunk:
            found.setdefault(item.trunk, []).append(item)
    return found


def all_siblings(experiments: Iterable[Experiment]) -> dict[str, list[Experiment]]:
    """Experiment id → the others of `experiments` that branch from its trunk; those without a trunk are not in it."""
    return {
        item.experiment_id: [other for other in mine if other is not item]
        for mine in by_trunk(experiments).values()
        for item in mine
    }


def siblings_of(experiment: Experiment, experiments: Iterable[Experiment]) -> list[Experiment]:
    """The others of `experiments` that branch from the trunk of `experiment`."""
    name, own = experiment.trunk, experiment.experiment_id
    return [item for item in experiments if name and item.experiment_id != own and item.trunk == name]


def trained_flops(
    recipe: Recipe,
    experiments: Sequence[Experiment],
    tokens_per_example: float = 1,
    taken: Mapping[str, int] | None = None,
) -> float:
    """FLOPs of all `experiments` together that are not finished (`taken`, as of `own_parts`), where what they share is
    trained once."""
    own, done = own_parts(recipe, experiments, tokens_per_example, taken), taken or {}
    left = [item for item in experiments if item.experiment_id not in done]
    shares = (own[item.experiment_id].share if item.experiment_id in own else 1.0 for item in left)
    return float(sum(item.planned_flops * share for item, share in zip(left, shares, strict=True)))


def sharing_notes(
    recipe: Recipe,
    experiments: Sequence[Experiment],
    tokens_per_example: float,
    plan_of: Callable[[Sequence[float]], Sequence[Experiment]],
) -> list[str]:
    """What sharing saves a plan of `experiments`, and what it would save budgets that double; nothing without trunks.

    `plan_of` plans other budgets. With sizes that all of them share, budgets that double make a rectangle of sizes and
    tokens in which tokens double, but for its corners, that are far from any optimum.
    """
    if not recipe.share_trunk or not experiments:
        return []
    notes = [f"{saving_text(recipe, experiments, tokens_per_example)} (docs/training.md#trunks-and-branches)"]
    budgets = sorted({item.compute_budget for item in experiments})
    doubling = doubled(budgets[0], budgets[-1])
    if len(doubling) > len(budgets):
        other = plan_of(doubling)
        now, then = (trained_flops(recipe, some, tokens_per_example) for some in (experiments, other))
        notes.append(
            f"compute_budgets = [{', '.join(map(format_flops, doubling))}], each double the one before, train every "
            f"size on tokens that double: {saving_text(recipe, other, tokens_per_example)}, "
            f"{abs(then / now - 1):.0%} {'more' if then > now else 'less'} than this plan trains"
        )
    return notes


def of_sharing(notes: Iterable[str]) -> list[str]:
    """Those of a plan's notes that `sharing_notes` made."""
    return [note for note in notes if _BRANCH in note]


def doubled(least: float, most: float) -> list[float]:
    """Budgets from `most` down to `least`, or one a little below it, each double the one before."""
    count = math.ceil(math.log2(most / least) - 0.5) + 1 if most > least else 1
    return [float(f"{most / 2**step:.3g}") for step in reversed(range(count))]


def saving_text(recipe: Recipe, experiments: Sequence[Experiment], tokens_per_example: float = 1) -> str:
    """`"28 experiments branch from 10 trunks: 9.1e10 FLOPs are trained instead of 1.2e11, 21 % less"`."""
    trained, alone = trained_flops(recipe, experiments, tokens_per_example), sum(e.planned_flops for e in experiments)
    return (
        f"{len(experiments)}{_BRANCH}{len(by_trunk(experiments))} trunks: {format_flops(trained)} "
        f"FLOPs are trained instead of {format_flops(alone)}, {1 - trained / alone:.0%} less"
    )
