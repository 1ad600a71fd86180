"""What experiments that share trunks train themselves, and what of that they would train without sharing."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from flops_fit.basics.formatting import format_flops
from flops_fit.recipe.recipe import Recipe
from flops_fit.recipe.steps import BranchSteps, plan_steps
from flops_fit.sweep.experiment import Experiment

_BRANCH = " experiments branch from "  # what is in every note about sharing
FOLDER = "trunks"  # beside the folders of experiments; what it holds can be made again


@dataclass(frozen=True, kw_only=True)
class OwnPart:
    """What of an experiment is trained for it alone: from where the one before it leaves the trunk."""

    steps: int
    examples: int
    share: float  # of its tokens, and so of its FLOPs


def own_parts(
    recipe: Recipe, experiments: Iterable[Experiment], tokens_per_example: float = 1
) -> Mapping[str, OwnPart]:
    """Experiment id → what it trains itself, where those of each trunk are trained from the shortest to the longest.

    In another order each has another part, of the same sum. Those without a trunk are not in it, nor those of fewer
    tokens than an example; of a recipe without trunks none is.
    """
    found: dict[str, OwnPart] = {}
    for mine in by_trunk(experiments if recipe.share_trunk else ()).values():
        before = 0
        for item in mine:
            if item.num_tokens < tokens_per_example:
                continue
            steps = plan_steps(recipe, item, tokens_per_example)
            assert isinstance(steps, BranchSteps)
            examples = steps.examples - steps.end(before)
            found[item.experiment_id] = OwnPart(
                steps=steps.steps - before, examples=examples, share=examples / steps.examples
            )
            before = steps.branch
    return found


def own_shares(recipe: Recipe, experiments: Iterable[Experiment], tokens_per_example: float = 1) -> dict[str, float]:
    """Experiment id → the share of its FLOPs that it does itself; of a recipe without trunks of none."""
    return {name: part.share for name, part in own_parts(recipe, experiments, tokens_per_example).items()}


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


def trained_flops(recipe: Recipe, experiments: Sequence[Experiment], tokens_per_example: float = 1) -> float:
    """FLOPs of all `experiments` together where what they share is trained once."""
    shares = own_shares(recipe, experiments, tokens_per_example)
    return float(sum(item.planned_flops * shares.get(item.experiment_id, 1.0) for item in experiments))


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
            f"at budgets that double ({', '.join(map(format_flops, doubling))}) "
            f"{saving_text(recipe, other, tokens_per_example)}: {then / now - 1:+.0%} of this plan's"
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
