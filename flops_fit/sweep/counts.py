"""Planning from parameter counts alone, for people without a model class at hand."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from flops_fit.basics.arguments import Rule, is_list, need, number
from flops_fit.basics.shown_options import with_options
from flops_fit.sizes.size_map import SizeEntry, SizeMap
from flops_fit.sweep.sweep_plan import SweepPlan, plan_from_size_map

_RATIO = 1.02
_COUNTS = Rule(
    lambda counts: is_list(counts) and len(counts) > 0, "a list of parameter counts, or a tuple (smallest, largest)"
)


@with_options(plan_from_size_map)
def plan_from_counts(
    num_params: Sequence[int | float] | tuple[float, float],
    compute_budgets: Sequence[float | str],
    *,
    flops_per_param_per_token: float = 6.0,
    param_count: str = "total",
    model_name: str = "counts",
    **options: Any,
) -> SweepPlan:
    """The IsoFLOP grid over given parameter counts; `Experiment.size_param_value` is N itself.

    Args:
        num_params: a list of counts to choose from, or a tuple (smallest, largest) between which any count will do.
        flops_per_param_per_token: FLOPs per token are this times N.
        options: as for `flops_fit.plan_from_size_map`.

    Raises `PlanError` for counts below 1 or an empty list.
    """
    need("flops_per_param_per_token", flops_per_param_per_token, number(above=0))
    counts = counts_of(num_params)
    if isinstance(num_params, tuple) and len(counts) == 2:
        counts = _between(*counts)
    entries = tuple(
        SizeEntry(size=count, num_params=count, flops_per_token=flops_per_param_per_token * count, source="given")
        for count in counts
    )
    size_map = SizeMap(
        model_name=model_name,
        size_param="num_params",
        entries=entries,
        param_count=param_count,
        flops_per_param_per_token=flops_per_param_per_token,
    )
    return plan_from_size_map(size_map, compute_budgets, **options)


class GivenCount:
    """Stands for a model of which nothing but its number of parameters is known."""

    def __init__(self, num_params: int) -> None:
        self._count = num_params

    def num_params(self) -> int:
        """N, as given."""
        return self._count


def counts_of(num_params: Sequence[int | float]) -> list[int]:
    """The counts in order, once each; raises `PlanError` for what is no list of numbers of at least 1."""
    need("num_params", num_params, _COUNTS)
    for count in num_params:
        need("each of num_params", count, number(least=1))
    return sorted({round(count) for count in num_params})


def _between(smallest: int, largest: int) -> list[int]:
    steps = math.ceil(math.log(largest / smallest) / math.log(_RATIO))
    return sorted({round(smallest * (largest / smallest) ** (step / steps)) for step in range(steps + 1)})
