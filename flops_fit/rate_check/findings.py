"""What a checked learning rate means for the law."""

from __future__ import annotations

from flops_fit.basics.diagnostic import Diagnostic
from flops_fit.basics.formatting import format_flops
from flops_fit.rate_check.rate_check import RateCheck
from flops_fit.rate_check.shown import factor_text, share_text
from flops_fit.scaling_law.checks.verdict import LIMITS

# A cost that grows as the square of ln C from nothing at the cheapest budget to this at the largest is up to four times
# it at ten times the largest, where the verdict asks that the loss be within LIMITS: twice as far for a decade of
# budgets, the least that a law needs.
TOLERATED = LIMITS["loss"] / 4


def findings_of(check: RateCheck, remedy: str) -> tuple[Diagnostic, ...]:
    """One finding: that the rate drifts from its optimum, that it is off, that it is fine, or that it cannot be told.

    A cost counts where its whole 90 % interval lies above `TOLERATED`. One that grows over the budgets bends the law:
    an error where it surely grows by more than the verdict allows the loss to be off at all. `remedy`: what to do about
    a rate that is off.
    """
    if not check.known:
        said = "the learning rate could not be judged: none of its checks has a loss to compare"
        return (_info("learning_rate_unclear", said, "see why they ended in the plan's table, and train them again"),)
    rise, costs = check.rise, [item.cost for item in check.known] + [check.cost_at_largest]
    best = f"{factor_text(check.best_over_used_at_largest)} times the one used"
    off_by = f"at {format_flops(check.largest)} FLOPs the best is {best}"
    if rise[0] > TOLERATED:
        message = (
            f"the learning rate drifts from its optimum: {off_by}, which costs "
            f"{share_text(rise)} more of the loss there than at {format_flops(check.known[0].compute_budget)} and "
            "bends the law"
        )
        severity = "error" if rise[0] > LIMITS["loss"] else "warning"
        return (Diagnostic(code="learning_rate_drifts", severity=severity, message=message, remedy=remedy),)
    if max(low for low, _, _ in costs) > TOLERATED:
        message = f"the learning rate is off: {off_by}; {_costs(check)}"
        return (Diagnostic(code="learning_rate_off", severity="warning", message=message, remedy=remedy),)
    if max(high for _, _, high in costs) <= TOLERATED:
        message = f"the learning rate costs at most {max(high for *_, high in costs):.2%} of the loss at every budget"
        return (_info("learning_rate_checked", message, f"nothing: up to {TOLERATED:.1%} is within the law's errors"),)
    message = f"it cannot be told whether the learning rate is right: {_costs(check)}"
    budgets = sorted({*(item.compute_budget for item in check.budgets), check.largest})
    named = ", ".join(f"{budget:g}" for budget in budgets)
    more = f"check_learning_rate = [{named}] in [sweep] checks the largest budget too; more held-out data is less noise"
    return (_info("learning_rate_unclear", message, more),)


def _costs(check: RateCheck) -> str:
    said = [f"{share_text(item.cost)} at {format_flops(item.compute_budget)} FLOPs" for item in check.known]
    if check.known[-1].compute_budget != check.largest:
        said.append(f"and, carried on, {share_text(check.cost_at_largest)} at {format_flops(check.largest)}")
    return "it costs " + ", ".join(said)


def _info(code: str, message: str, remedy: str) -> Diagnostic:
    return Diagnostic(code=code, severity="info", message=message, remedy=remedy)
