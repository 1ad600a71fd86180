"""RateCheck: how far the learning rate of a grid was from the best, where it was checked and at the largest budget."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from flops_fit.rate_check.optimum import Optimum, carried, optimum_of
from flops_fit.results.results import ExperimentResult
from flops_fit.sweep.experiment import Experiment

Range = tuple[float, float, float]  # the ends of a 90 % interval and its median between them: low, middle, high
NAME = "learning_rate"


@dataclass(frozen=True, kw_only=True, eq=False)
class CheckedBudget:
    """The centre size of one budget at three rates.

    Attributes:
        rates: half the used one, that, and double.
        losses: None where there is none; `states` says why: "completed", "diverged", "not trained" or another status.
        noise: sd of log loss from one training to the next.
    """

    compute_budget: float
    num_params: int
    num_tokens: int
    rates: tuple[float, float, float]
    losses: tuple[float | None, float | None, float | None]
    states: tuple[str, str, str]
    noise: float

    @property
    def is_known(self) -> bool:
        """Whether there is anything to judge by: the used rate has a loss, and another rate has one or diverged."""
        others = (self.states[0] == "completed", self.states[2] in ("completed", "diverged"))
        return self.losses[1] is not None and any(others)

    @functools.cached_property
    def optimum(self) -> Optimum:
        """Where the best rate lies."""
        steps = [math.log(rate / self.rates[1]) for rate in self.rates]
        logs = [None if loss is None else math.log(loss) for loss in self.losses]
        too_high = [steps[2]] if self.states[2] == "diverged" else []
        return optimum_of(steps, logs, self.noise, too_high=too_high)

    @property
    def best_over_used(self) -> Range:
        """The best rate over the used one."""
        return _range(np.exp(self.optimum.u))

    @property
    def cost(self) -> Range:
        """Share of the loss that the used rate costs above the best."""
        return _range(self.optimum.cost)


@dataclass(frozen=True, kw_only=True, eq=False)
class RateCheck:
    """All budgets at which the rate of a grid was checked, cheapest first; `largest` is the grid's largest budget."""

    budgets: tuple[CheckedBudget, ...]
    largest: float

    @property
    def known(self) -> tuple[CheckedBudget, ...]:
        """Those that there is something to judge by."""
        return tuple(item for item in self.budgets if item.is_known)

    @functools.cached_property
    def at_largest(self) -> Optimum:
        """Where the best rate lies at the largest budget: its own where it was checked, else carried on from below."""
        top = self.known[-1]
        if top.compute_budget == self.largest:
            return top.optimum
        places = [math.log(item.compute_budget) for item in self.known]
        return carried(places, [item.optimum for item in self.known], math.log(self.largest))

    @property
    def best_over_used_at_largest(self) -> Range:
        """The best rate over the used one there."""
        return _range(np.exp(self.at_largest.u))

    @property
    def cost_at_largest(self) -> Range:
        """Share of the loss that the used rate costs there."""
        return _range(self.at_largest.cost)

    @property
    def rise(self) -> Range:
        """By how much more of the loss the used rate costs at the largest budget than at the cheapest checked one."""
        return _range(self.at_largest.cost - self.known[0].optimum.cost)


def _range(draws: np.ndarray) -> Range:
    low, middle, high = np.quantile(draws, (0.05, 0.5, 0.95))
    return float(low), float(middle), float(high)


def rate_check(
    experiments: Sequence[Experiment],
    checks: Sequence[Experiment],
    results: Mapping[str, ExperimentResult],
    noise: float,
) -> RateCheck:
    """What came of the `checks` of `experiments`; `results` by id, of any status, those of the grid among them."""
    by_budget: dict[float, list[Experiment]] = {}
    for item in checks:
        by_budget.setdefault(item.compute_budget, []).append(item)
    found = [_checked(mine, experiments, results, noise) for _, mine in sorted(by_budget.items())]
    return RateCheck(budgets=tuple(found), largest=max(item.compute_budget for item in experiments))


def _checked(
    checks: Sequence[Experiment],
    experiments: Sequence[Experiment],
    results: Mapping[str, ExperimentResult],
    noise: float,
) -> CheckedBudget:
    low, high = sorted(checks, key=lambda item: dict(item.tuned)[NAME])
    used = next(item for item in experiments if _same_training(item, low))
    three = [results.get(item.experiment_id) for item in (low, used, high)]
    least, most = (dict(item.tuned)[NAME] for item in (low, high))
    return CheckedBudget(
        compute_budget=used.compute_budget,
        num_params=used.num_params,
        num_tokens=used.num_tokens,
        rates=(least, math.sqrt(least * most), most),
        losses=tuple(None if result is None else result.loss for result in three),  # type: ignore[arg-type]
        states=tuple("not trained" if result is None else result.status for result in three),  # type: ignore[arg-type]
        noise=noise,
    )


def _same_training(one: Experiment, other: Experiment) -> bool:
    names = ("compute_budget", "size_param_value", "num_tokens", "seed")
    return all(getattr(one, name) == getattr(other, name) for name in names)
