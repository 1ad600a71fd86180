"""How the sizes of a budget are chosen."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from flops_fit.basics.arguments import FLAG, LEFT_OUT, Rule, check_fields, did_you_mean, number, several, whole
from flops_fit.errors import PlanError

FIELD_RULES = {
    "num_sizes_per_budget": whole(),
    "tokens_per_param": number(above=0),
    "span": number(above=1),
    "min_tokens_per_param": number(above=0),
    "max_tokens_per_param": number(above=0),
    "seeds": several(whole(0), "different whole numbers of at least 0, at least one, such as (0, 1, 2)"),
    "dataset_tokens": whole() | LEFT_OUT,
    "max_epochs": number(above=0),
    "tokens_per_example": number(above=0),
    "by_cost": FLAG,
    "shared_sizes": FLAG,
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
        stream: whether these are of a stream, which is seen once; `max_epochs` is then at most 1.
        tokens_per_example: tokens are planned in whole examples; an average where these differ.
        by_cost: whether tokens per parameter (the centre and its limits) are told by compute, C / (6 N^2), and not by
            counting: for units of data that are no tokens. Where 20 of them to a parameter leave a budget fewer than 4
            sizes, it is taken to be.
        shared_sizes: whether all budgets take their sizes from one list (`flops_fit.sweep.shared_sizes`), so that an
            experiment of a larger budget can go on from one of a smaller; of studies that share trunks.
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
    stream: bool = False
    tokens_per_example: float = 1
    by_cost: bool = False
    shared_sizes: bool = False
    centre: Any = None

    @property
    def step(self) -> float:
        """Distance of neighbouring targets in log N."""
        return 2 * math.log(self.span) / max(1, self.num_sizes_per_budget - 1)

    @classmethod
    def checked(cls, options: Mapping[str, Any]) -> GridOptions:
        """Options by name; raises `TypeError` for an unknown name and `PlanError` for a value out of its limits."""
        known = cls.__dataclass_fields__
        for name in options:
            if name not in known:
                raise TypeError(f"unknown planning option {name!r}; {did_you_mean(name, known)}")
        return cls(**options)

    def __post_init__(self) -> None:
        check_fields(self, FIELD_RULES)
        object.__setattr__(self, "seeds", tuple(int(seed) for seed in self.seeds))
        if len(set(self.seeds)) < len(self.seeds):
            raise PlanError(f"seeds = {self.seeds!r} must be {FIELD_RULES['seeds'].limit}")
        if self.min_tokens_per_param > self.max_tokens_per_param:
            raise PlanError(
                f"min_tokens_per_param = {self.min_tokens_per_param:g} is above max_tokens_per_param = "
                f"{self.max_tokens_per_param:g}; give a range"
            )
