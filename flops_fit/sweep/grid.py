"""Which sizes of a size map a compute budget gets, and on how many tokens."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from flops_fit.basics.arguments import LEFT_OUT, Rule, check_fields, did_you_mean, number, several, whole
from flops_fit.basics.formatting import format_count, format_flops
from flops_fit.errors import PlanError
from flops_fit.sizes.size_map import SizeEntry, SizeMap, SkippedSize
from flops_fit.sweep.experiment import PLAN_TOLERANCE, DroppedPoint, Experiment, experiment_id

ADMITS_NO_SIZE = "admits no size"
SIX_N_WARNING_RATIO = 1.5  # of FLOPs per token, measured over 6·N or the other way round


_RULES = {
    "num_sizes_per_budget": whole(),
    "tokens_per_param": number(above=0),
    "span": number(above=1),
    "min_tokens_per_param": number(above=0),
    "max_tokens_per_param": number(above=0),
    "seeds": several(whole(0), "different whole numbers of at least 0, at least one, such as (0, 1, 2)"),
    "dataset_tokens": whole() | LEFT_OUT,
    "max_epochs": number(above=0),
    "tokens_per_example": whole(),
    "centre": Rule(
        lambda centre: centre is None or callable(centre) or hasattr(centre, "N_opt"),
        "a scaling law, or a function of the budget",
    ),
}


@dataclass(frozen=True, kw_only=True)
class GridOptions:
    """How a budget's sizes are chosen.

    Attributes:
        num_sizes_per_budget: at most this many sizes per budget.
        tokens_per_param: the prior optimum that the grid is centred on (Hoffmann et al. 2022: about 20).
        span: sizes run from centre / span to centre * span in N.
        min_tokens_per_param, max_tokens_per_param: points outside are dropped.
        seeds: every size is trained once with each.
        dataset_tokens: tokens in the training set, if known; bounds what can be trained.
        max_epochs: how often the data may be seen; points above are dropped, and any above 1 are warned of.
            The default of 4 is where repeated tokens stop being worth about as much as new ones (Muennighoff et al.
            2023).
        tokens_per_example: tokens are planned in whole examples.
        centre: where the optimum is expected, instead of at `tokens_per_param`: a fitted law (its `N_opt`), or a
            function of the budget (None where it does not know); parameters in the convention of the size map.
    """

    num_sizes_per_budget: int = 7
    tokens_per_param: float = 20.0
    span: float = 6.0
    min_tokens_per_param: float = 0.1
    max_tokens_per_param: float = 1000.0
    seeds: Sequence[int] = (0,)
    dataset_tokens: int | None = None
    max_epochs: float = 4.0
    tokens_per_example: int = 1
    centre: Any = None

    @classmethod
    def checked(cls, options: Mapping[str, Any]) -> GridOptions:
        """Options by name; raises `TypeError` for an unknown name and `PlanError` for a value out of its limits."""
        known = cls.__dataclass_fields__
        for name in options:
            if name not in known:
                raise TypeError(f"unknown planning option {name!r}; {did_you_mean(name, known)}")
        return cls(**options)

    def __post_init__(self) -> None:
        check_fields(self, _RULES)
        object.__setattr__(self, "seeds", tuple(int(seed) for seed in self.seeds))
        if len(set(self.seeds)) < len(self.seeds):
            raise PlanError(f"seeds = {self.seeds!r} must be {_RULES['seeds'].limit}")
        if self.min_tokens_per_param > self.max_tokens_per_param:
            raise PlanError(
                f"min_tokens_per_param = {self.min_tokens_per_param:g} is above max_tokens_per_param = "
                f"{self.max_tokens_per_param:g}; give a range"
            )


def plan_budgets(
    size_map: SizeMap, budgets: Sequence[float], options: GridOptions, identity: str
) -> tuple[list[Experiment], list[DroppedPoint], list[str]]:
    """Experiments, dropped points and remarks of every budget, each budget planned as if it were the only one."""
    experiments: list[Experiment] = []
    dropped: list[DroppedPoint] = []
    remarks: list[str | None] = []
    for budget in budgets:
        chosen, missing = choose_sizes(size_map, budget, options)
        planned, refused = _experiments(size_map, chosen, budget, options, identity)
        if not planned:
            remarks.append(_nothing_admitted(size_map, budget, options, [*refused, *missing]))
        experiments += planned
        dropped += sorted([*missing, *refused], key=lambda point: point.num_params)
    return (
        experiments,
        dropped,
        [*filter(None, remarks), *remarks_on(experiments, size_map, options.dataset_tokens, options.max_epochs)],
    )


def remarks_on(
    experiments: Sequence[Experiment], size_map: SizeMap, dataset_tokens: int | None, max_epochs: float
) -> list[str]:
    """What a reader should know of experiments: data that is repeated, FLOPs per token far from those measured."""
    found = (_repeated_data(experiments, dataset_tokens, max_epochs), _six_n_is_off(size_map, experiments))
    return [remark for remark in found if remark]


def choose_sizes(size_map: SizeMap, budget: float, options: GridOptions) -> tuple[list[SizeEntry], list[DroppedPoint]]:
    """Sizes nearest to targets that are even in log N around the prior optimum, each size at most once.

    The size next above `max_params` takes part and is dropped, so that to raise it adds experiments and changes none.
    """
    centre, step = _centre(size_map, budget, options), _step(options)
    count = options.num_sizes_per_budget
    offsets = sorted((index - (count - 1) / 2 for index in range(count)), key=abs)
    above = next((size for size in size_map.skipped if size.num_params is not None), None)
    sizes: list[SizeEntry | SkippedSize] = [*size_map.entries, *([above] if above else [])]
    chosen: list[SizeEntry | SkippedSize] = []
    missing: list[DroppedPoint] = []
    for offset in offsets:
        target = centre * math.exp(offset * step)
        if above is not None and target > (
            above.num_params or 0
        ):  # its size may be one beyond, which is not known here
            missing.append(_no_size(size_map, budget, target, above, taken=False))
            continue
        near = [size for size in sizes if _distance(size, target) <= step]
        free = [size for size in near if size not in chosen]
        nearest = min(free, key=lambda size: _distance(size, target), default=None)
        if nearest is not None:
            chosen.append(nearest)
        if not isinstance(nearest, SizeEntry):
            missing.append(_no_size(size_map, budget, target, nearest, taken=bool(near)))
    kept = [size for size in chosen if isinstance(size, SizeEntry)]
    return sorted(kept, key=lambda entry: entry.num_params), missing


def _distance(size: SizeEntry | SkippedSize, target: float) -> float:
    """In log N."""
    assert size.num_params is not None
    return abs(math.log(size.num_params / target))


def _centre(size_map: SizeMap, budget: float, options: GridOptions) -> float:
    given = None if options.centre is None else getattr(options.centre, "N_opt", options.centre)(budget)
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


def _step(options: GridOptions) -> float:
    """Distance of neighbouring targets in log N."""
    return 2 * math.log(options.span) / max(1, options.num_sizes_per_budget - 1)


def _experiments(
    size_map: SizeMap, chosen: Sequence[SizeEntry], budget: float, options: GridOptions, identity: str
) -> tuple[list[Experiment], list[DroppedPoint]]:
    planned: list[Experiment] = []
    refused: list[DroppedPoint] = []
    for entry in chosen:
        examples = round(budget / entry.flops_per_token / options.tokens_per_example)
        tokens = examples * options.tokens_per_example
        reason = _refusal(entry, budget, tokens, options)
        if reason:
            refused.append(
                DroppedPoint(
                    compute_budget=budget, num_params=entry.num_params, reason=reason, size_param_value=entry.size
                )
            )
            continue
        for seed in options.seeds:
            name = experiment_id(
                budget=budget, size_param=size_map.size_param, size=entry.size, num_tokens=tokens, seed=seed,
                identity=identity,
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
                )
            )
    return planned, refused


def _refusal(entry: SizeEntry, budget: float, tokens: int, options: GridOptions) -> str | None:
    """Why this size cannot be trained at this budget; None if it can."""
    ratio = budget / entry.flops_per_token / entry.num_params
    low, high = options.min_tokens_per_param, options.max_tokens_per_param
    if ratio < low:
        return f"{ratio:.3g} tokens per parameter, below min_tokens_per_param = {low:g}; raise the budget or lower it"
    if ratio > high:
        return f"{ratio:.3g} tokens per parameter, above max_tokens_per_param = {high:g}; lower the budget or raise it"
    spent = tokens * entry.flops_per_token
    if abs(spent - budget) > PLAN_TOLERANCE * budget:
        return (
            f"whole examples of {options.tokens_per_example} tokens spend {format_flops(spent)} FLOPs, more than "
            f"{PLAN_TOLERANCE:.0%} from the budget {format_flops(budget)}; raise the budget or shorten the examples"
        )
    if options.dataset_tokens is not None and tokens > options.max_epochs * options.dataset_tokens:
        epochs = tokens / options.dataset_tokens
        return (
            f"needs {format_count(tokens)} tokens, {epochs:.3g} epochs of the {format_count(options.dataset_tokens)} "
            f"there are, above max_epochs = {options.max_epochs:g}; add data, lower the budget or raise max_epochs"
        )
    return None


def _no_size(
    size_map: SizeMap, budget: float, target: float, above: SkippedSize | None, *, taken: bool
) -> DroppedPoint:
    """Why a target has no size; `above` is the one it would have without max_params."""
    first, last = size_map.entries[0], size_map.entries[-1]
    wanted = f"no size near {format_count(target)} parameters"
    if above is not None:
        reason = (
            f"{wanted}: {size_map.size_param}={above.size} has {above.reason}; lower the budget or raise max_params"
        )
    elif target < first.num_params:
        reason = f"{wanted}: the smallest is {size_map.label(first)}; raise the budget or allow smaller sizes"
    elif target > last.num_params:
        largest = f"the largest is {size_map.label(last)}"
        reason = f"{wanted}: {largest}; lower the budget or allow larger sizes (max_size, size_values)"
    elif taken:
        reason = f"{wanted} that this budget does not use already; the model has too few sizes there"
    else:
        reason = f"{wanted}: the model has none between its neighbours; give more in size_values or as num_sizes"
    return DroppedPoint(compute_budget=budget, num_params=target, reason=reason)


def _nothing_admitted(size_map: SizeMap, budget: float, options: GridOptions, points: Sequence[DroppedPoint]) -> str:
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
            f"parameter; lower the budget to at most {format_flops(most)} or allow larger sizes"
        )
    reasons = [point.reason for point in points]
    remedies = [reason.rpartition("; ")[2] for reason in reasons]
    return f"{said}: {reasons[remedies.index(max(remedies, key=remedies.count))]}"


def _ratio(entry: SizeEntry, budget: float) -> float:
    return budget / entry.flops_per_token / entry.num_params


def _limits(size_map: SizeMap, options: GridOptions) -> tuple[float, float]:
    """The least budget that the smallest size can be trained with, and the most that the largest can."""
    smallest, largest = size_map.entries[0], size_map.entries[-1]
    return (
        options.min_tokens_per_param * smallest.flops_per_token * smallest.num_params,
        options.max_tokens_per_param * largest.flops_per_token * largest.num_params,
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
