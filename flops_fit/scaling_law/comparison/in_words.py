"""A comparison in sentences and as the cells of a table."""

from __future__ import annotations

from collections.abc import Sequence

from flops_fit.basics.formatting import format_count, format_flops, format_loss
from flops_fit.scaling_law.comparison.at_target import AtTarget
from flops_fit.scaling_law.comparison.crossing import Crossing

Names = tuple[str, str]


def headers(names: Names, *, in_time: bool = False) -> tuple[str, ...]:
    """Of the table of targets; `in_time` where it says what the compute is in time."""
    a, b = names
    return ("Compute (FLOPs)", f"Loss of {a} (90 %)", f"Loss of {b} (90 %)", f"{a} is better with",
            f"For the loss of {a}, {b} needs", *(["In time"] if in_time else []), f"N_opt of {a}", f"N_opt of {b}",
            "N_opt differ")  # fmt: skip


def row(at: AtTarget) -> tuple[str, ...]:
    """One target as cells under `headers`."""
    losses = [
        f"{format_loss(loss)} ({format_loss(low)} to {format_loss(high)})"
        for loss, (low, high) in zip(at.losses, at.loss_intervals, strict=True)
    ]
    sizes = map(format_count, at.sizes)
    differ = "yes" if at.optima_differ else "not shown"
    needed = [at.multipliers[0].words(), *([at.time_multipliers[0].in_time()] if at.time_multipliers else [])]
    return (format_flops(at.compute), *losses, percent(at.probability), *needed, *sizes, differ)


def sentence(at: AtTarget, names: Names) -> str:
    """Which is better at one target and what it is worth, or that they cannot be told apart."""
    where = f"at {format_flops(at.compute)} FLOPs"
    better, worse = names[at.better], names[1 - at.better]
    if at.told_apart:
        needed = at.multipliers[at.better]
        verb = "needs" if needed.value < float("inf") else "comes to its loss with"
        return f"{better} is better {where} with {percent(at.sure)}: {worse} {verb} {needed.words()}"
    low, high = (100 * (ratio - 1) for ratio in at.loss_ratio_interval)
    return (
        f"{names[0]} and {names[1]} cannot be told apart {where} ({better} is better with {percent(at.sure)}): the "
        f"loss of {names[1]} is {low:+.2g} % to {high:+.2g} % off that of {names[0]} at 90 %"
    )


def optima_sentence(at: AtTarget, names: Names) -> str:
    """Whether the optimal sizes differ at one target."""
    low, high = at.size_ratio_interval
    said = "differs" if at.optima_differ else "does not differ beyond its intervals"
    sizes = " and ".join(f"{format_count(size)} of {name}" for size, name in zip(at.sizes, names, strict=True))
    return f"N_opt there {said}: {sizes}, x{low:.3g} to x{high:.3g} at 90 %"


def time_sentence(at: AtTarget, names: Names, device: str, beyond: Sequence[str]) -> str:
    """What the worse one needs by the clock at one target; `beyond` are those whose size there was not timed."""
    assert at.time_multipliers is not None
    needed, worse = at.time_multipliers[at.better], names[1 - at.better]
    verb = "needs" if needed.value < float("inf") else "comes to that loss with"
    return f"by the clock {worse} {verb} {needed.in_time()}, {measured_on(device, beyond)}"


def measured_on(device: str, beyond: Sequence[str]) -> str:
    """Where seconds were measured, and of what there is no timing at the size that is asked about."""
    more = f"; N_opt of {' and '.join(beyond)} there is no size that was timed: taken as fast as the nearest"
    return f"as measured on {device}{more if beyond else ''}"


def time_is_not_known(why: str) -> str:
    """That compute cannot be told in time, and why."""
    return f"what the compute is in time is not known: {why}"


def crossing_sentence(crossing: Crossing) -> str:
    """Where the curves cross, and how sure the order on either side is."""
    where = "beyond the runs" if crossing.beyond_runs else "within the runs"
    return (
        f"the curves cross at {format_flops(crossing.compute)} FLOPs, {where}: {crossing.better_below} is better below "
        f"and {crossing.better_above} above, an order with a probability of {percent(crossing.probability)}"
    )


def remedy(at: AtTarget, names: Names, command: str | None = None) -> str:
    """What would tell the two apart at a target, as it is typed: in Python, or `command`."""
    loose, other = names[at.looser], names[1 - at.looser]
    low, high = at.loss_intervals[at.looser]
    target = f"{at.compute:g}"
    typed = command or f'laws["{loose}"].next_experiments(5, target={target})'
    return (
        f"train larger budgets of both towards {target} FLOPs, first of {loose}, whose loss is the less sure "
        f"({format_loss(low)} to {format_loss(high)}), then of {other}: {typed}"
    )


APART = (
    "fitted apart, each law trades its exponents for its coefficients; where both recipes have the same exponents, "
    "fit_scaling_law_together tells smaller differences apart"
)


def percent(probability: float) -> str:
    """`0.973 -> "97 %"`; draws are too few to tell more than 99 % or less than 1 %."""
    if probability > 0.99:
        return "more than 99 %"
    return "less than 1 %" if probability < 0.01 else f"{100 * probability:.0f} %"
