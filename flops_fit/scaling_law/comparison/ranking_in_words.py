"""A ranking in sentences and as the cells of a table."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from flops_fit.basics.formatting import format_count, format_flops, format_loss
from flops_fit.scaling_law.comparison.axis import Axis
from flops_fit.scaling_law.comparison.in_words import measured_on, percent
from flops_fit.scaling_law.comparison.ranked_at import RankedAt
from flops_fit.scaling_law.comparison.speed import Speed, beyond_timed
from flops_fit.scaling_law.fitted import FittedLaw

SURE_INSIDE = 0.9
APART = (
    "fitted apart, each law trades its exponents for its coefficients; where all have the same exponents, "
    "flops-fit compare A.csv B.csv --share alpha,beta tells smaller differences of two apart"
)


def headers(axis: Axis | None, *, in_time: bool) -> tuple[str, ...]:
    """Of the table; `in_time` where it says what the compute is in time."""
    return ("Compute (FLOPs)", axis.name if axis else "Law", "Loss (90 %)", "Best with",
            "Compute for the best loss", *(["In time"] if in_time else []), "N_opt (90 %)")  # fmt: skip


def rows(at: RankedAt, names: Sequence[str]) -> Iterator[tuple[str, ...]]:
    """One target as cells under `headers`, a row for each law."""
    in_time = any(at.time_multipliers)
    for place, name in enumerate(names):
        low, high = at.loss_intervals[place]
        smallest, largest = at.size_intervals[place]
        needed, clock = at.multipliers[place], at.time_multipliers[place]
        yield (
            format_flops(at.compute),
            name,
            f"{format_loss(at.losses[place])} ({format_loss(low)} to {format_loss(high)})",
            percent(at.probabilities[place]),
            needed.words("times", "never") if needed else "–",
            *([clock.words("times", "never") if clock else "–"] if in_time else []),
            f"{format_count(at.sizes[place])} ({format_count(smallest)} to {format_count(largest)})",
        )


def sentence(at: RankedAt, names: Sequence[str], axis: Axis | None) -> str:
    """Which is the best at one target, or which of them cannot be told apart."""
    where, best = f"at {format_flops(at.compute)} FLOPs", f"{axis.name} {names[at.best]}" if axis else names[at.best]
    if at.told_apart:
        needed = (
            f"{name} {'needs' if one.value < float('inf') else 'comes to its loss with'} {one.words()}"
            for name, one in zip(names, at.multipliers, strict=True)
            if one is not None
        )
        return f"{best} is the best {where} with {percent(at.sure)}: {', '.join(needed)}"
    *others, last = (f"{names[place]} ({percent(at.probabilities[place])})" for place in at.rivals)
    rivals = f"{', '.join(others)} and {last}" if others else last
    return f"{best} is the best {where} with {percent(at.sure)}, and cannot be told apart from {rivals}"


def axis_sentence(at: RankedAt, names: Sequence[str], axis: Axis | None) -> str:
    """Whether the best value lies between others that were tried; of values without an order nothing."""
    if axis is None or not axis.is_ordered:
        return ""
    best = names[at.best]
    if axis.is_edge(at.best):
        which = "largest" if at.best == axis.order[-1] else "smallest"
        if axis.beyond(at.best) is None:
            return f"{best} is the {which} {axis.name} tried, and none lies beyond it"
        return f"{best} is the {which} {axis.name} tried, so that the optimum may lie beyond it"
    place = axis.order.index(at.best)
    below, above = names[axis.order[place - 1]], names[axis.order[place + 1]]
    inside = inside_probability(at, axis)
    doubt = "" if inside >= SURE_INSIDE else ", which is not sure"
    return f"the best {axis.name} lies inside those tried, between {below} and {above}, with {percent(inside)}{doubt}"


def inside_probability(at: RankedAt, axis: Axis) -> float:
    """That the best of the values is neither the least nor the greatest."""
    return sum(chance for place, chance in enumerate(at.probabilities) if not axis.is_edge(place))


def to_add(at: RankedAt, axis: Axis | None) -> str:
    """Which value to try besides, where the best may well be at the edge; else nothing."""
    if axis is None or not axis.is_ordered or inside_probability(at, axis) >= SURE_INSIDE:
        return ""
    edges = [axis.order[0], axis.order[-1]]
    edge = at.best if axis.is_edge(at.best) else max(edges, key=lambda place: at.probabilities[place])
    new = axis.beyond(edge)
    if new is None:
        return ""
    ordered = [axis.values[place] for place in axis.order]
    several = [*ordered, new] if edge == axis.order[-1] else [new, *ordered]
    return (
        f"add {axis.name} = {new:g} to see whether the optimum lies there: {axis.name} = "
        f"[{', '.join(f'{value:g}' for value in several)}]; only its experiments are trained"
    )


def time_sentence(at: RankedAt, laws: Mapping[str, FittedLaw], speeds: Mapping[str, Speed]) -> str:
    """What the others need by the clock at one target."""
    device = next(iter(speeds.values())).device
    needed = (
        f"{name} {'needs' if one.value < float('inf') else 'comes to it with'} {one.in_time()}"
        for name, one in zip(laws, at.time_multipliers, strict=True)
        if one is not None
    )
    best = [*laws][at.best]
    outside = measured_on(device, beyond_timed(at.compute, laws, speeds))
    return f"by the clock, for the loss of {best}: {', '.join(needed)}, {outside}"


def remedy(at: RankedAt, names: Sequence[str], commands: Mapping[str, str]) -> str:
    """What would tell the best from the likeliest other at a target, as it is typed."""
    both = (at.best, at.rivals[0])
    widths = {place: (at.loss_intervals[place][1] - at.loss_intervals[place][0]) / at.losses[place] for place in both}
    loose = names[max(both, key=widths.__getitem__)]
    target = f"{at.compute:g}"
    start = commands.get(loose)
    typed = f"{start} --target {target}" if start else f'laws["{loose}"].next_experiments(5, target={target})'
    return (
        f"train larger budgets of {names[both[0]]} and {names[both[1]]} towards {target} FLOPs, first of {loose}, "
        f"whose loss is the less sure: {typed}"
    )
