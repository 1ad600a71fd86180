"""fit_recipe_law: trials → the law of the best recipe."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from flops_fit.errors import FitError, StudyError
from flops_fit.recipe.tuning.findings import findings_of
from flops_fit.recipe.tuning.posterior import STRAY, Evidence, Posterior, Problem, edges, most_probable, prior
from flops_fit.recipe.tuning.recipe_law import RecipeLaw
from flops_fit.recipe.tuning.surface import Surface
from flops_fit.recipe.tuning.trial import Cell, Trial
from flops_fit.recipe.tuning.tuned import Tuned, in_order


def fit_recipe_law(trials: Sequence[Trial], tuned: Sequence[Tuned]) -> RecipeLaw:
    """The optimum of each tuned quantity as a power law of N and D, with its uncertainty.

    Args:
        trials: in any order; those that diverged count as information about the edge.
        tuned: the quantities in any order, with a guess, bounds and what is believed of each.

    Raises `StudyError` for trials without a value for a tuned quantity, `FitError` where no trial completed.
    """
    check_trials(trials, tuned)
    tuned = in_order(tuned)
    if not any(trial.loss for trial in trials):
        raise FitError(_none_completed(trials, tuned))
    posterior, problem, origin = posterior_of(trials, tuned, [])
    surface, count = posterior.surface, len(tuned)
    order = np.array([surface.part(name).start + at for at in range(count) for name in "mpq"])
    law = RecipeLaw(
        names=tuple(item.name for item in tuned),
        origin=origin,
        coefficients=posterior.theta[order].reshape(count, 3),
        covariance=posterior.covariance[np.ix_(order, order)],
        dof=posterior.dof,
        curvature=np.exp(posterior.theta[surface.part("log_h")]),
        fade=float(posterior.theta[surface.part("fade")][0]),
        skew=posterior.theta[surface.part("skew")].copy(),
        turned=surface.turned(posterior.theta),
        edge=tuple(float(at) if np.isfinite(at) else None for at in edges(posterior, problem)),
        stray=STRAY,
        noise=posterior.sigma,
        low=np.array([item.low for item in tuned]),
        high=np.array([item.high for item in tuned]),
        tried=len(trials),
        diverged=sum(trial.loss is None for trial in trials),
        flops=float(sum(6 * trial.num_params * trial.num_tokens for trial in trials)),
    )
    object.__setattr__(law, "findings", findings_of(law, posterior, problem))
    return law


def posterior_of(
    trials: Sequence[Trial], tuned: Sequence[Tuned], more: Sequence[Cell]
) -> tuple[Posterior, Problem, Cell]:
    """The surface given `trials`, with levels also for the cells in `more`; and (N0, D0)."""
    cells = sorted({trial.cell for trial in trials} | {*more})
    middle = np.exp(np.log(cells).mean(axis=0))
    origin = (float(middle[0]), float(middle[1]))
    cheapest = min(cells, key=lambda cell: cell[0] * cell[1])
    surface = Surface(count=len(tuned), cells=len(cells))
    mean, sd = prior(tuned, surface, np.log(np.divide(cheapest, origin)))
    problem = Problem(
        surface=surface,
        evidence=Evidence.of(trials, [item.name for item in tuned], origin, cells),
        mean=mean,
        sd=sd,
        upward=np.array([item.believed.diverges_above for item in tuned]),
    )
    return most_probable(problem), problem, origin


def check_trials(trials: Sequence[Trial], tuned: Sequence[Tuned]) -> None:
    """Raises `StudyError` where nothing is tuned, a name is there twice, or a trial lacks a tuned value."""
    names = [item.name for item in tuned]
    if not names or len({*names}) < len(names):
        raise StudyError(f"tuned = {names} must name at least one recipe number, and each once")
    for trial in trials:
        if missing := [name for name in names if name not in trial.values]:
            raise StudyError(
                f"the trial at N = {trial.num_params:g}, D = {trial.num_tokens:g} has no value of {missing[0]}, which "
                "is tuned; give every trial a value of each tuned quantity"
            )


def _none_completed(trials: Sequence[Trial], tuned: Sequence[Tuned]) -> str:
    if not trials:
        return "no trial was given, and a recipe law needs some; run those that next_trials chooses"
    ranges = ", ".join(
        f"{item.name} from {min(trial.values[item.name] for trial in trials):.3g} "
        f"to {max(trial.values[item.name] for trial in trials):.3g}"
        for item in tuned
    )
    rates = [item for item in tuned if item.believed.diverges_above]
    remedy = (
        f"lower the guess of {rates[0].name} from {rates[0].guess:.3g} by a factor 10" if rates else "check the model"
    )
    return f"all {len(trials)} trials diverged ({ranges}), and a recipe law needs some that did not; {remedy}"
