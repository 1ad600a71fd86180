"""Whether a plan has enough experiments for a law, and what to change where it has not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from flops_fit.basics.formatting import format_flops
from flops_fit.errors import StudyError
from flops_fit.sweep.experiment import DroppedPoint, Experiment
from flops_fit.sweep.reasons import ADMITS_NO_SIZE

LAW_PARAMETERS = 5  # E, A, B, alpha, beta
FEWEST = LAW_PARAMETERS + 1
EMPTY = "the plan has no experiments to train"
ONE_BUDGET = (
    "the plan has one compute budget, at which tokens follow from the size, so that its runs determine no law; give at "
    "least one more of compute_budgets, three times as large or more"
)


def too_few(experiments: Sequence[Experiment], dropped: Sequence[DroppedPoint], notes: Sequence[str]) -> str | None:
    """Why no law can be fitted to what a plan trains, and the one thing to change; None where one can.

    What counts is how many experiments differ in size or tokens: another seed of one fixes no further parameter.
    """
    different = len({(item.num_params, item.num_tokens) for item in experiments})
    if different >= FEWEST:
        return ONE_BUDGET if _is_one_budget(experiments) else None
    if different == 0:
        return f"{EMPTY}: {_why_empty(notes)}"
    plural = "s" if different > 1 else ""
    return (
        f"the plan has {different} experiment{plural} that differ in size or tokens, too few for a law of "
        f"{LAW_PARAMETERS} parameters, which needs at least {FEWEST}; {_remedy(dropped, different)}"
    )


def _is_one_budget(experiments: Sequence[Experiment]) -> bool:
    """Whether all are of one budget, each size on as many tokens: D follows from N, and no law is determined."""
    pairs = {(item.num_params, item.num_tokens) for item in experiments}
    return len({item.compute_budget for item in experiments}) == 1 and len(dict(pairs)) == len(pairs)


def refuse_too_few(problem: str | None, to_train_anyway: str) -> None:
    """Raise `StudyError` where there is a problem (`SweepPlan.too_few`), and say what to give to have it trained."""
    if problem is not None:
        anyway = "" if problem.startswith(EMPTY) else f"; {to_train_anyway} trains it all the same"
        raise StudyError(f"nothing was trained: {problem}{anyway}")


def empty_budgets(by_budget: Mapping[float, Sequence[Experiment]], notes: Sequence[str]) -> str | None:
    """Why budgets of a plan have no experiment, and what would do, as its `notes` say it; None where all have some."""
    empty = [format_flops(budget) for budget, experiments in by_budget.items() if not experiments]
    said = [note for note in notes if ADMITS_NO_SIZE in note]
    return ("; ".join(said) or f"no size is admitted at {', '.join(empty)} FLOPs; leave that out") if empty else None


def _why_empty(notes: Sequence[str]) -> str:
    of_budgets = [note for note in notes if ADMITS_NO_SIZE in note]
    return of_budgets[-1] if of_budgets else "no budget admits any size"


def _remedy(dropped: Sequence[DroppedPoint], planned: int) -> str:
    """What would help most: to have more of the grid, or a larger grid."""
    if len(dropped) < FEWEST - planned:
        return "give more compute_budgets or a larger num_sizes_per_budget"
    reasons = [point.reason for point in dropped]
    remedies = [_last_part(reason) for reason in reasons]
    most = max(dict.fromkeys(remedies), key=remedies.count)
    return f"{remedies.count(most)} of its points are dropped for one reason, such as: {reasons[remedies.index(most)]}"


def _last_part(reason: str) -> str:
    return reason.rpartition("; ")[2]
