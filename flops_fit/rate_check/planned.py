"""Which trainings check the learning rate of a grid, and what they cost."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

from flops_fit.basics.arguments import FLAG, LEFT_OUT, Rule, is_list
from flops_fit.basics.formatting import format_flops
from flops_fit.errors import StudyError
from flops_fit.sweep.experiment import Experiment, with_values

FACTORS = (0.5, 2.0)  # of the experiment's own rate
SHARE = 0.1  # of the grid's FLOPs, that all checks take together at most where the budgets are not named
OPTION = (
    FLAG | LEFT_OUT | Rule(lambda given: is_list(given) and len(given) > 0, "a list of budgets of the grid, in FLOPs")
)


def checks_of(
    experiments: Sequence[Experiment], rate_of: Callable[[Experiment], float], budgets: Collection[float] | None = None
) -> list[Experiment]:
    """The centre experiment of several budgets at half and at double its own rate, by budget.

    Without `budgets` these are the budgets from the cheapest on whose checks take together at most `SHARE` of the FLOPs
    of `experiments`: more budgets above leave them as they are. Raises `StudyError` for a budget without experiments.
    """
    centres = _centres(experiments)
    if unknown := [budget for budget in budgets or () if budget not in centres]:
        raise StudyError(
            f"sweep.check_learning_rate names {format_flops(unknown[0])} FLOPs, where the grid has no experiment; it "
            f"has some at {', '.join(map(format_flops, centres))}"
        )
    chosen = _affordable(experiments, centres) if budgets is None else sorted(budgets)
    return [
        with_values(centre, dict(centre.tuned) | {"learning_rate": factor * rate_of(centre)})
        for centre in map(centres.__getitem__, chosen)
        for factor in FACTORS
    ]


def _centres(experiments: Sequence[Experiment]) -> dict[float, Experiment]:
    """Budget → its experiment of the middle size, with the first seed; by budget."""
    found: dict[float, Experiment] = {}
    for budget in sorted({item.compute_budget for item in experiments}):
        mine = [item for item in experiments if item.compute_budget == budget]
        sizes = sorted((item for item in mine if item.seed == mine[0].seed), key=lambda item: item.num_params)
        found[budget] = sizes[len(sizes) // 2]
    return found


def _affordable(experiments: Sequence[Experiment], centres: dict[float, Experiment]) -> list[float]:
    left, chosen = SHARE * sum(item.planned_flops for item in experiments), []
    for budget, centre in centres.items():
        left -= len(FACTORS) * centre.planned_flops
        if left < 0:
            break
        chosen.append(budget)
    return chosen


def cost_text(checks: Sequence[Experiment], experiments: Sequence[Experiment]) -> str:
    """How many checks there are at which budgets, and what they cost, in a sentence without its end."""
    if not checks:
        least = min(item.compute_budget for item in experiments)
        return (
            f"the learning rate is not checked: at the cheapest budget that takes more than {SHARE:.0%} of the grid's "
            f"FLOPs; check_learning_rate = [{least:g}] in [sweep] does it in any case"
        )
    budgets = [format_flops(budget) for budget in sorted({item.compute_budget for item in checks})]
    flops, total = (sum(item.planned_flops for item in some) for some in (checks, experiments))
    return (
        f"the learning rate is checked at {', '.join(budgets)} FLOPs: {len(checks)} trainings of the centre size at "
        f"half and double the rate, {format_flops(flops)} FLOPs, {flops / total:.1%} of the grid's"
    )
