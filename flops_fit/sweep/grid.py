"""Which sizes of a size map a compute budget gets, and on how many tokens."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from flops_fit.basics.formatting import format_count, format_flops
from flops_fit.errors import PlanError
from flops_fit.sizes.size_map import SizeEntry, SizeMap, SkippedSize
from flops_fit.sweep.experiment import PLAN_TOLERANCE, DroppedPoint, Experiment, experiment_id
from flops_fit.sweep.options import GridOptions
from flops_fit.sweep.reasons import (
    centred_by_cost,
    few_multiples,
    no_size,
    nothing_admitted,
    remarks_on,
    these_would_do,
)
from flops_fit.sweep.shared_sizes import choose_shared, recipe_tokens

FEWEST_SIZES = 4  # of a budget, for a parabola with an interval


def plan_budgets(
    size_map: SizeMap, budgets: Sequence[float], options: GridOptions, identity: str
) -> tuple[list[Experiment], list[DroppedPoint], list[str]]:
    """Experiments, dropped points and remarks of every budget, each budget planned as if it were the only one."""
    experiments: list[Experiment] = []
    dropped: list[DroppedPoint] = []
    remarks: list[str] = []
    by_cost: list[tuple[float, int]] = []
    few: list[tuple[float, int, float]] = []
    for budget in budgets:
        planned, points, otherwise = _plan_well(size_map, budget, options, identity)
        by_cost += [] if otherwise is None else [(budget, otherwise)]
        no_multiple = [point.num_params for point in points if "size_multiple" in point.reason]
        if no_multiple and _sizes(planned) < FEWEST_SIZES:
            few.append((budget, _sizes(planned), min(no_multiple)))
        if not planned:
            remarks.append(nothing_admitted(size_map, budget, options, points))
        experiments += planned
        dropped += points
    if not experiments:
        return [], dropped, ["; ".join([*remarks[-1:], *_where_it_fits(size_map, options)])]
    if few:
        remarks.append(few_multiples(size_map, few, options))
    if by_cost:
        remarks.append(centred_by_cost(size_map, by_cost, options))
    return (
        experiments,
        dropped,
        [*remarks, *remarks_on(experiments, size_map, options.dataset_tokens, options.max_epochs)],
    )


def _plan_well(
    size_map: SizeMap, budget: float, options: GridOptions, identity: str
) -> tuple[list[Experiment], list[DroppedPoint], int | None]:
    """The better of `_plan_one` as asked and, where that may be, centred by compute; then how many sizes it would have
    otherwise."""
    planned, points = _plan_one(size_map, budget, options, identity)
    sizes = _sizes(planned)
    if sizes < FEWEST_SIZES and _may_centre_by_cost(size_map, options):
        other, missing = _plan_one(size_map, budget, replace(options, by_cost=True), identity)
        if _sizes(other) > sizes:
            return other, missing, sizes
    return planned, points, None


def _where_it_fits(size_map: SizeMap, options: GridOptions) -> list[str]:
    """Of an empty plan: the budgets that would have sizes enough, in round numbers; nothing where none would."""
    if options.centre is not None:  # which may know nothing of other budgets
        return []
    round_ones = [float(f"{digit}e{power}") for power in range(31) for digit in (1, 2, 5)]
    fit = [budget for budget in round_ones if _sizes(_plan_well(size_map, budget, options, "")[0]) >= FEWEST_SIZES]
    return [these_would_do(fit[0], fit[-1], FEWEST_SIZES)] if fit else []


def _plan_one(
    size_map: SizeMap, budget: float, options: GridOptions, identity: str
) -> tuple[list[Experiment], list[DroppedPoint]]:
    if options.shared_sizes:
        chosen, missing = choose_shared(size_map, budget, _centre(size_map, budget, options), options)
    else:
        chosen, missing = choose_sizes(size_map, budget, options)
    planned, refused = _experiments(size_map, chosen, budget, options, identity)
    return planned, sorted([*missing, *refused], key=lambda point: point.num_params)


def _sizes(experiments: Sequence[Experiment]) -> int:
    return len({item.size_param_value for item in experiments})


def _may_centre_by_cost(size_map: SizeMap, options: GridOptions) -> bool:
    """Of units that are no tokens, 20 to a parameter is no one's finding: an image may cost what 1,000 tokens do."""
    asked = options.centre is not None or options.tokens_per_param != GridOptions.tokens_per_param
    return size_map.data_unit != "token" and not asked and not options.by_cost


def choose_sizes(size_map: SizeMap, budget: float, options: GridOptions) -> tuple[list[SizeEntry], list[DroppedPoint]]:
    """Sizes nearest to targets that are even in log N around the prior optimum, each size at most once.

    The size next above `max_params` takes part and is dropped, so that to raise it adds experiments and changes none.
    """
    centre, step = _centre(size_map, budget, options), options.step
    count = options.num_sizes_per_budget
    offsets = sorted((index - (count - 1) / 2 for index in range(count)), key=abs)
    above = next((size for size in size_map.skipped if size.num_params is not None), None)
    above_params = (above and above.num_params) or math.inf
    sizes: list[SizeEntry | SkippedSize] = [*size_map.entries, *([above] if above else [])]
    chosen: list[SizeEntry | SkippedSize] = []
    missing: list[DroppedPoint] = []
    for offset in offsets:
        target = centre * math.exp(offset * step)
        if above is not None and target > above_params:  # the nearest may be one beyond, which is not known here
            missing.append(no_size(size_map, budget, target, above, taken=False))
            continue
        near = [size for size in sizes if _distance(size, target) <= step]
        free = [size for size in near if size not in chosen]
        nearest = min(free, key=lambda size: _distance(size, target), default=None)
        if nearest is not None:
            chosen.append(nearest)
        if not isinstance(nearest, SizeEntry):
            missing.append(no_size(size_map, budget, target, nearest, taken=bool(near)))
    kept = [size for size in chosen if isinstance(size, SizeEntry)]
    return sorted(kept, key=lambda entry: entry.num_params), missing


def _distance(size: SizeEntry | SkippedSize, target: float) -> float:
    """In log N."""
    assert size.num_params is not None
    return abs(math.log(size.num_params / target))


def _centre(size_map: SizeMap, budget: float, options: GridOptions) -> float:
    given = None if options.centre is None else getattr(options.centre, "N_opt", options.centre)(budget)
    if given is None and options.by_cost:
        return math.sqrt(budget / (6 * options.tokens_per_param))
    if given is None:
        return prior_optimum(size_map, budget, options.tokens_per_param)
    expected = float(given)
    if not 0 < expected < math.inf:
        raise PlanError(f"centre gives {expected} parameters at {format_flops(budget)} FLOPs; it must be above 0")
    return expected


def prior_optimum(size_map: SizeMap, budget: float, tokens_per_param: float) -> float:
    """N whose training on `budget` FLOPs sees `tokens_per_param` tokens per parameter.

    Solves C = f(N) * N * tokens_per_param, f being the FLOPs per token of the map: between two entries log f is linear
    in log N, and beyond the ends f / N is constant.
    """
    entries = size_map.entries
    cost = [math.log(entry.flops_per_token * entry.num_params * tokens_per_param / budget) for entry in entries]
    size = [math.log(entry.num_params) for entry in entries]
    if cost[0] >= 0 or cost[-1] <= 0:
        end = 0 if cost[0] >= 0 else -1
        return math.exp(size[end] - cost[end] / 2)
    above = next(index for index, value in enumerate(cost) if value >= 0)
    below = above - 1
    share = -cost[below] / (cost[above] - cost[below])
    return math.exp(size[below] + share * (size[above] - size[below]))


def _experiments(
    size_map: SizeMap, chosen: Sequence[SizeEntry], budget: float, options: GridOptions, identity: str
) -> tuple[list[Experiment], list[DroppedPoint]]:
    planned: list[Experiment] = []
    refused: list[DroppedPoint] = []
    for entry in chosen:
        examples = round(budget / entry.flops_per_token / options.tokens_per_example)
        tokens = round(examples * options.tokens_per_example)
        reason = _refusal(entry, budget, tokens, options)
        if reason:
            refused.append(
                DroppedPoint(
                    compute_budget=budget,
                    num_params=entry.num_params,
                    reason=reason,
                    size_param_value=entry.size,
                    label=entry.label,
                )
            )
            continue
        for_recipe = recipe_tokens(size_map, entry, options) if options.shared_sizes else None
        for seed in options.seeds:
            name = experiment_id(
                budget=budget, size_param=size_map.size_param, size=entry.size, num_tokens=tokens, seed=seed,
                identity=identity, arguments=entry.arguments, recipe_tokens=for_recipe,
            )  # fmt: skip
            planned.append(
                Experiment(
                    experiment_id=name,
                    compute_budget=budget,
                    size_param=size_map.size_param,
                    size_param_value=entry.size,
                    num_params=entry.num_params,
                    num_tokens=tokens,
                    flops_per_token=entry.flops_per_token,
                    seed=seed,
                    measured_flops_per_token=entry.measured_flops_per_token,
                    total_params=entry.total_params,
                    activation_bytes_per_token=entry.activation_bytes_per_token,
                    arguments=entry.arguments,
                    label=entry.label,
                    active_params=entry.active_params,
                    recipe_tokens=for_recipe,
                )
            )
    return planned, refused


def _refusal(entry: SizeEntry, budget: float, tokens: int, options: GridOptions) -> str | None:
    """Why this size cannot be trained at this budget; None if it can."""
    ratio = budget / (6.0 * entry.num_params if options.by_cost else entry.flops_per_token) / entry.num_params
    low, high = options.min_tokens_per_param, options.max_tokens_per_param
    if ratio < low:
        return f"{ratio:.3g} tokens per parameter, below min_tokens_per_param = {low:g}; raise the budget or lower it"
    if ratio > high:
        return f"{ratio:.3g} tokens per parameter, above max_tokens_per_param = {high:g}; lower the budget or raise it"
    spent = tokens * entry.flops_per_token
    if abs(spent - budget) > PLAN_TOLERANCE * budget:
        return (
            f"whole examples of {options.tokens_per_example:.15g} tokens spend {format_flops(spent)} FLOPs, more than "
            f"{PLAN_TOLERANCE:.0%} from the budget {format_flops(budget)}; raise the budget or shorten the examples"
        )
    if options.dataset_tokens is not None and tokens > options.max_epochs * options.dataset_tokens:
        epochs = tokens / options.dataset_tokens
        if options.stream and options.max_epochs == 1:
            return (
                f"needs {format_count(tokens)} tokens, and the stream, which is seen once, gives "
                f"{format_count(options.dataset_tokens)} (stream_tokens); raise stream_tokens if it has more, or lower "
                "the budget"
            )
        return (
            f"needs {format_count(tokens)} tokens, {epochs:.3g} epochs of the {format_count(options.dataset_tokens)} "
            f"there are, above max_epochs = {options.max_epochs:g}; add data, lower the budget or raise max_epochs"
        )
    return None
