"""Is the learning rate right? A few rates at the smallest and the largest size of the cheapest budget."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from flops_fit.basics.formatting import format_count, markdown_table
from flops_fit.errors import StudyError
from flops_fit.sweep.experiment import with_values
from flops_fit.training.side_by_side import train_all

if TYPE_CHECKING:
    from flops_fit.study.study import Study
    from flops_fit.sweep.experiment import Experiment
    from flops_fit.sweep.sweep_plan import SweepPlan

DEFAULT_FACTORS = (0.25, 0.5, 1.0, 2.0, 4.0)
_TOLERATED_RATIO = 2.0
_NEAR = 0.1


@dataclass(frozen=True, kw_only=True)
class RateCurve:
    """Held-out loss against peak learning rate for one experiment; None where it did not complete.

    `recipe_rate` is what the recipe gives the experiment.
    """

    experiment: Experiment
    recipe_rate: float
    rates: tuple[float, ...]
    losses: tuple[float | None, ...]

    @property
    def best(self) -> float | None:
        """The rate of the lowest loss; None where nothing completed."""
        completed = [(loss, rate) for rate, loss in zip(self.rates, self.losses, strict=True) if loss is not None]
        return min(completed)[1] if completed else None

    @property
    def optimum(self) -> float | None:
        """Minimum of a parabola in log rate through the losses within 10 % of the lowest; `best` where there is none.

        Short trainings are noisy: the lowest of five losses may be a neighbour of the one that would be on average.
        """
        if self.best is None:
            return None
        completed = [(rate, loss) for rate, loss in zip(self.rates, self.losses, strict=True) if loss is not None]
        lowest = min(loss for _, loss in completed)
        near = [(math.log(rate), loss) for rate, loss in completed if loss <= lowest + _NEAR * abs(lowest)]
        if len(near) < 3:
            return self.best
        logs, losses = np.array(near).T
        curvature, slope, _ = np.polyfit(logs, losses, 2)
        at = -slope / (2 * curvature) if curvature > 0 else math.nan
        return math.exp(at) if near[0][0] <= at <= near[-1][0] else self.best

    @property
    def at_edge(self) -> bool:
        """Whether the best rate is the lowest or the highest tried, so that a better one may lie outside."""
        return self.best in (self.rates[0], self.rates[-1])


@dataclass(frozen=True, kw_only=True)
class LearningRateCheck:
    """What the check found: a curve for the smallest and one for the largest size, and the FLOPs it cost."""

    curves: tuple[RateCurve, ...]
    flops: float

    @property
    def warnings(self) -> tuple[str, ...]:
        """What makes the recipe's rate doubtful, each with its remedy; empty where nothing does."""
        found = []
        for curve in self.curves:
            size = curve.experiment.size_text
            if curve.best is None:
                found.append(f"{size}: no rate completed; lower the learning rate")
            elif curve.at_edge:
                found.append(f"{size}: the best rate {curve.best:g} is at the edge of those tried; try rates beyond it")
        off = [curve.optimum / curve.recipe_rate for curve in self.curves if curve.optimum is not None]
        if len(off) > 1 and max(off) > _TOLERATED_RATIO * (1 + 1e-9) * min(off):
            found.append(
                f"the best rates of the sizes, over the recipe's, differ by a factor {max(off) / min(off):.2g}, more "
                f"than {_TOLERATED_RATIO:g}; make learning_rate a function of the experiment that follows them"
            )
        return tuple(found)

    def table(self) -> str:
        """Markdown: a row per rate, a column of losses per size."""
        names = [
            f"{curve.experiment.size_text} ({format_count(curve.experiment.num_params)} parameters)"
            for curve in self.curves
        ]
        rates = sorted({rate for curve in self.curves for rate in curve.rates})
        rows = [[f"{rate:.3g}", *self._losses(rate)] for rate in rates]
        optima = ["–" if curve.optimum is None else f"{curve.optimum:.3g}" for curve in self.curves]
        return markdown_table(["learning rate", *names], [*rows, ["best, smoothed", *optima]])

    def _losses(self, rate: float) -> list[str]:
        cells = []
        for curve in self.curves:
            loss = dict(zip(curve.rates, curve.losses, strict=True)).get(rate)
            cells.append("–" if loss is None else f"{loss:.4f}" + (" (best)" if rate == curve.best else ""))
        return cells


def check_learning_rate(
    study: Study,
    plan: SweepPlan,
    *,
    factors: Sequence[float] = DEFAULT_FACTORS,
    output_dir: str | Path,
    progress: bool = True,
) -> LearningRateCheck:
    """Train the smallest and the largest experiment of the cheapest budget at `factors` times the recipe's rate.

    All of them side by side. The results are kept in `output_dir`, under the experiment's id and the factor, and are
    not trained again. The cost is that of `2 * len(factors)` experiments of the cheapest budget. Raises `StudyError`
    for a plan without experiments, fewer than three factors, or a recipe that shares trunks.
    """
    if len(factors) < 3 or any(factor <= 0 for factor in factors):
        raise StudyError(f"factors = {tuple(factors)!r} must be at least 3 positive numbers, such as {DEFAULT_FACTORS}")
    if study.training.share_trunk:
        raise StudyError(
            "share_trunk = true: the rate of a trunk may change with the tokens it has seen, and the check has one for "
            'each training; check without share_trunk, with schedule = "linear", and take 0.6 of what it finds'
        )
    for item in checked_experiments(plan):
        study.refuse_unless_planned(item.outcome_fingerprint, plan.made_from)
    tried = {item: _at_rates(study, item, sorted(factors)) for item in checked_experiments(plan)}
    results = train_all(
        study,
        [variant for variants in tried.values() for variant in variants],
        output_dir=Path(output_dir),
        progress=progress,
    )
    losses = {result.experiment_id: result.loss for result in results}
    curves = tuple(
        RateCurve(
            experiment=item,
            recipe_rate=study.training.peak_learning_rate(item),
            rates=tuple(variants.values()),
            losses=tuple(losses[variant.experiment_id] for variant in variants),
        )
        for item, variants in tried.items()
    )
    return LearningRateCheck(curves=curves, flops=sum(result.flops for result in results))


def checked_experiments(plan: SweepPlan) -> list[Experiment]:
    """The smallest and the largest experiment of the cheapest budget; raises `StudyError` where there are none."""
    if not plan.experiments:
        raise StudyError("the plan has no experiments; a learning rate is checked on the cheapest budget of a plan")
    cheapest = min(item.compute_budget for item in plan.experiments)
    seed = plan.experiments[0].seed
    sizes = [item for item in plan.experiments if item.compute_budget == cheapest and item.seed == seed]
    return [sizes[0], sizes[-1]] if len(sizes) > 1 else sizes


def _at_rates(study: Study, experiment: Experiment, factors: Sequence[float]) -> dict[Experiment, float]:
    """The experiment under an id of its own for each factor, with that rate as its own → the rate."""
    peak = study.training.peak_learning_rate(experiment)
    variants = {}
    for factor in factors:
        own = with_values(experiment, dict(experiment.tuned) | {"learning_rate": factor * peak})
        variants[dataclasses.replace(own, experiment_id=f"{experiment.experiment_id}-x{factor:g}")] = factor * peak
    return variants
