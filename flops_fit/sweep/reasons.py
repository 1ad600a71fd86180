"""What is said of a grid: why points of it are missing, and what a reader should know of its experiments."""

from __future__ import annotations

import math
from collections.abc import Sequence

from flops_fit.basics.formatting import format_count, format_flops
from flops_fit.sizes.multiples import Multiple, finer, first_allowed, in_words
from flops_fit.sizes.options import CAUSAL
from flops_fit.sizes.size_map import SizeEntry, SizeMap, SkippedSize
from flops_fit.sweep.experiment import DroppedPoint, Experiment
from flops_fit.sweep.options import GridOptions

ADMITS_NO_SIZE = "admits no size"
SIX_N_WARNING_RATIO = 1.5  # of FLOPs per token, measured over 6·N or the other way round


def no_size(size_map: SizeMap, budget: float, target: float, above: SkippedSize | None, *, taken: bool) -> DroppedPoint:
    """Why a target has no size; `above` is the one it would have without max_params."""
    first, last = size_map.entries[0], size_map.entries[-1]
    wanted = f"no size near {format_count(target)} parameters"
    if above is not None:
        reason = (
            f"{wanted}: {above.label or f'{size_map.size_param}={above.size}'} has {above.reason}; lower the budget or "
            "raise max_params"
        )
    elif target < first.num_params:
        smaller = "give smaller rows in sizes" if size_map.is_table else "allow smaller sizes"
        if size_map.size_multiple is not None and first.size == first_allowed(1, size_map.size_multiple):
            smaller = _smaller_multiple(size_map.size_multiple)
        reason = f"{wanted}: the smallest is {size_map.label(first)}; raise the budget or {smaller}"
    elif target > last.num_params:
        largest = f"the largest is {size_map.label(last)}"
        larger = "give larger rows in sizes" if size_map.is_table else "allow larger sizes (max_size, size_values)"
        reason = f"{wanted}: {largest}; lower the budget or {larger}"
    else:
        reason = wanted + _between(size_map, target, taken=taken)
    return DroppedPoint(compute_budget=budget, num_params=target, reason=reason)


def _between(size_map: SizeMap, target: float, *, taken: bool) -> str:
    """Why there is no size of N = `target`, which is between two that there are."""
    other = " that this budget does not use already" if taken else ""
    if size_map.is_table:
        return f"{other} in the table of sizes; give a row there"
    if size_map.size_multiple is not None:
        return f"{other} among {in_words(size_map.size_multiple)}; {_smaller_multiple(size_map.size_multiple)}"
    above = next(at for at, entry in enumerate(size_map.entries) if entry.num_params >= target)
    small, large = (size_map.entries[at].size for at in (max(above - 1, 0), above))
    if large == small + 1:
        at = f"{size_map.size_param}={small} and {large}"
        return f": {at} are next to each other; raise the budget, or set the size by an argument in finer steps"
    if taken:
        return f"{other}; the model has too few sizes there"
    return ": the model has none between its neighbours; give more in size_values or as num_sizes"


def _smaller_multiple(multiple: Multiple) -> str:
    return f"give a size_multiple {'that is a number' if isinstance(multiple, str) else f'below {multiple}'}"


def few_multiples(size_map: SizeMap, budgets: Sequence[tuple[float, int, float]], options: GridOptions) -> str:
    """Of budgets that `size_multiple` leaves few sizes, each with how many and N of the smallest that is missing: which
    multiple has enough."""
    multiple = size_map.size_multiple
    assert multiple is not None
    budget, sizes, _ = min(budgets, key=lambda found: found[1])
    most = min(_widest_distance(size_map, target, options.step) for _, _, target in budgets)
    other = finer(multiple, most)
    remedy = f"give size_multiple = {other}" if other else "leave size_multiple out"
    named = ", ".join(format_flops(each) for each, _, _ in budgets)
    return (
        f"{in_words(multiple)} leave {named} FLOPs too few sizes ({sizes} of {options.num_sizes_per_budget} at "
        f"{format_flops(budget)}); {remedy}, or {'a larger span' if isinstance(multiple, str) else 'larger budgets'}"
    )


def _widest_distance(size_map: SizeMap, target: float, step: float) -> float:
    """How far apart sizes near N = `target` may be, to be no more than `step` apart in log N, which there grows as some
    power of the size."""
    entries = size_map.entries
    if len(entries) < 2:
        return entries[0].size / 2
    last = next((at for at in range(1, len(entries)) if entries[at].num_params >= target), len(entries) - 1)
    low, high = entries[last - 1], entries[last]
    growth = math.log(high.num_params / low.num_params)
    power = growth / math.log(high.size / low.size) if high.size != low.size else 1.0
    size = low.size * (target / low.num_params) ** (1 / power)
    return step * size / power


def nothing_admitted(size_map: SizeMap, budget: float, options: GridOptions, points: Sequence[DroppedPoint]) -> str:
    """Why a budget has no experiment and what to change: at an end of the map, or else what most `points` say."""
    said, (least, most) = f"budget {format_flops(budget)} FLOPs {ADMITS_NO_SIZE}", _limits(size_map, options)
    smallest, largest = size_map.entries[0], size_map.entries[-1]
    if budget < least:
        return (
            f"{said}: the smallest ({size_map.label(smallest)}) would see {_ratio(smallest, budget):.2g} tokens per "
            f"parameter; raise the budget to at least {format_flops(least)} or add smaller sizes"
        )
    if budget > most:
        return (
            f"{said}: the largest ({size_map.label(largest)}) would see {_ratio(largest, budget):.2g} tokens per "
            f"parameter; lower the budget to at most {format_flops(most)} or {_to_have_larger(size_map)}"
        )
    reasons = [point.reason for point in points]
    remedies = [reason.rpartition("; ")[2] for reason in reasons]
    return f"{said}: {reasons[remedies.index(max(remedies, key=remedies.count))]}"


def _to_have_larger(size_map: SizeMap) -> str:
    if any(size.num_params is not None for size in size_map.skipped):
        return "raise max_params"
    return "give larger rows in sizes" if size_map.is_table else "allow larger sizes"


def these_would_do(least: float, most: float, sizes: int) -> str:
    """Which budgets have at least so many `sizes`."""
    if least == most:
        return f"a budget of {format_flops(least)} FLOPs would have at least {sizes} sizes"
    return f"budgets from {format_flops(least)} to {format_flops(most)} FLOPs would have at least {sizes} sizes each"


def _ratio(entry: SizeEntry, budget: float) -> float:
    return budget / entry.flops_per_token / entry.num_params


def _limits(size_map: SizeMap, options: GridOptions) -> tuple[float, float]:
    """The least budget that the smallest size can be trained with, and the most that the largest can."""
    smallest, largest = size_map.entries[0], size_map.entries[-1]
    return (
        options.min_tokens_per_param * smallest.flops_per_token * smallest.num_params,
        options.max_tokens_per_param * largest.flops_per_token * largest.num_params,
    )


def remarks_on(
    experiments: Sequence[Experiment], size_map: SizeMap, dataset_tokens: int | None, max_epochs: float
) -> list[str]:
    """What a reader should know of experiments: data that is repeated, FLOPs per token far from those measured or with
    operations in them that are not counted."""
    found = (_repeated_data(experiments, dataset_tokens, max_epochs), _six_n_is_off(size_map, experiments))
    uncounted = size_map.uncounted if size_map.flops_method in ("measured", CAUSAL) else ()
    return [*(remark for remark in found if remark), *uncounted]


def centred_by_cost(size_map: SizeMap, budgets: Sequence[tuple[float, int]], options: GridOptions) -> str:
    """Of budgets that are centred by compute, each with how many sizes it would have had otherwise."""
    budget, sizes = budgets[0]
    ratio, named = options.tokens_per_param, ", ".join(format_flops(each) for each, _ in budgets)
    return (
        f"{ratio:g} {size_map.data_unit}s per parameter would leave {named} FLOPs too few sizes ({sizes} of "
        f"{options.num_sizes_per_budget} at {format_flops(budget)}); the grid is centred on as much compute per "
        f"parameter as {ratio:g} tokens have: there, C = {6 * ratio:g} N^2. To centre it elsewhere, set "
        "tokens_per_param"
    )


def _repeated_data(experiments: Sequence[Experiment], dataset_tokens: int | None, max_epochs: float) -> str | None:
    """Muennighoff et al. 2023: tokens seen up to 4 times are worth about as much as new ones, then less and less."""
    if dataset_tokens is None:
        return None
    epochs = [experiment.num_tokens / dataset_tokens for experiment in experiments]
    repeating = [number for number in epochs if number > 1]
    if not repeating:
        return None
    return (
        f"{len(repeating)} of {len(epochs)} experiments see data more than once, up to {max(repeating):.3g} times "
        f"(max_epochs = {max_epochs:g}); the law will describe repeated data. Add data, or set max_epochs = 1"
    )


def _six_n_is_off(size_map: SizeMap, experiments: Sequence[Experiment]) -> str | None:
    """Where FLOPs per token are taken as 6 N although those measured are far from it."""
    measured = [experiment for experiment in experiments if experiment.measured_flops_per_token]
    if size_map.flops_method != "6nd" or not measured:
        return None

    off = sorted((experiment.measured_flops_per_token or 0.0) / experiment.flops_per_token for experiment in measured)
    typical = off[len(off) // 2]
    if 1 / SIX_N_WARNING_RATIO <= typical <= SIX_N_WARNING_RATIO:
        return None
    return (
        f"{size_map.flops_per_param_per_token:g} FLOPs per parameter and {size_map.data_unit} are far from those "
        f"measured, which are {typical:.3g} times as many ({off[0]:.3g} to {off[-1]:.3g} times over the experiments); "
        'give flops = "measured"'
    )
