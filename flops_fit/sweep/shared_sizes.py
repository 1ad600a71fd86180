"""Sizes that all budgets have in common, so that a training of a larger budget can go on from one of a smaller."""

from __future__ import annotations

import math
from collections.abc import Sequence

from flops_fit.sizes.size_map import SizeEntry, SizeMap, SkippedSize
from flops_fit.sweep.experiment import DroppedPoint
from flops_fit.sweep.options import GridOptions
from flops_fit.sweep.reasons import no_size

RECIPE_SHARE = 0.05  # of the tokens that a size is expected to be optimal with: those that its recipe begins with


def choose_shared(
    size_map: SizeMap, budget: float, centre: float, options: GridOptions
) -> tuple[list[SizeEntry], list[DroppedPoint]]:
    """The sizes of those targets that are nearest to `centre`.

    Targets are the same for every budget: N = e^(k · step) with k whole and `step` that of `options`. Each has the size
    nearest to it within half a step, so that no size belongs to two. The size next above `max_params` takes part and is
    dropped, as in `flops_fit.sweep.grid.choose_sizes`.
    """
    step = options.step
    at = math.log(centre) / step
    around = range(math.floor(at) - options.num_sizes_per_budget, math.ceil(at) + options.num_sizes_per_budget + 1)
    nearest = sorted(around, key=lambda number: (abs(number - at), number))[: options.num_sizes_per_budget]
    above = next((size for size in size_map.skipped if size.num_params is not None), None)
    sizes: list[SizeEntry | SkippedSize] = [*size_map.entries, *([above] if above else [])]
    chosen: list[SizeEntry] = []
    missing: list[DroppedPoint] = []
    for number in sorted(nearest):
        target = math.exp(number * step)
        beyond = above is not None and target > (above.num_params or math.inf)
        found = above if beyond else _of_target(sizes, number, step)
        if isinstance(found, SizeEntry):
            chosen.append(found)
        else:
            missing.append(no_size(size_map, budget, target, found, taken=False))
    return sorted(chosen, key=lambda entry: entry.num_params), missing


def _of_target(sizes: Sequence[SizeEntry | SkippedSize], number: int, step: float) -> SizeEntry | SkippedSize | None:
    """The size nearest to target `number` in log N, of those that are nearer to it than to the targets beside it."""
    places = [(math.log(size.num_params or 1) / step, size) for size in sizes]
    own = [(abs(place - number), size) for place, size in places if math.floor(place + 0.5) == number]
    return min(own, key=lambda pair: pair[0], default=(0.0, None))[1]


def recipe_tokens(size_map: SizeMap, entry: SizeEntry, options: GridOptions) -> int:
    """The tokens that the recipe of a size is read at first (`flops_fit.recipe.trunk_parts`), whatever its budget: a
    twentieth of those that it would be optimal with by `tokens_per_param`, near to its shortest trainings.

    Of units that are no tokens, the optimal ones follow from compute, as in `flops_fit.sweep.grid`: those of C = 6 ·
    tokens_per_param · N^2.
    """
    optimal = options.tokens_per_param * entry.num_params
    if size_map.data_unit != "token" and options.tokens_per_param == GridOptions.tokens_per_param:
        optimal *= 6 * entry.num_params / entry.flops_per_token
    return max(1, round(RECIPE_SHARE * optimal))
