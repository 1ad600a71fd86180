"""What would make the answer untrustworthy, as data: each check is one small function."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace

from flops_fit.basics.diagnostic import Diagnostic, gravest_first
from flops_fit.basics.formatting import format_count, format_flops
from flops_fit.scaling_law.checks import of_design as design_checks
from flops_fit.scaling_law.checks import of_fit as fit_checks
from flops_fit.scaling_law.checks.evidence import Evidence
from flops_fit.scaling_law.table.runs import Runs

VERDICTS = ("trustworthy", "provisional", "not supported")
LIMITS = {"N_opt": 0.5, "D_opt": 0.5, "loss": 0.02}  # relative error at 90 % that "trustworthy" stays within
EVEN = 2.44  # times the limit, in logarithms: about as likely within it as not (normal quantiles 0.95 over 0.75)
# what a misfit measured on left-out budgets holds already, and what is of the five-parameter law where another answers
MEASURED = {"residual_trend", "lack_of_fit", "holdout_error"}
OF_FIVE = {"high_leverage", "weighting_matters"}
DOUBTS = {"at_bound", "no_interior_minimum", "weakly_identified"}  # the predicted error says how grave they are
OF_SIZE = {  # these speak against N_opt and D_opt, not against the loss, which is flat around the optimum
    "approaches_disagree",
    "high_leverage",
    "no_interior_minimum",
    "no_isoflop_curves",
    "weakly_identified",
    "weighting_matters",
}

OF_LOSS = {"loss_offset"}  # and this against the loss alone


def diagnose(evidence: Evidence, further: Iterable[Diagnostic] = ()) -> tuple[Diagnostic, ...]:
    """Every finding and the `further` ones, gravest first; of a fit that the runs do not determine only that.

    Warnings of what the misfit of the form has measured already are information.
    """
    lost = fit_checks.undetermined(evidence)
    checks = design_checks.CHECKS if lost else (*design_checks.CHECKS, *fit_checks.CHECKS)
    found: list[Diagnostic | None] = [lost, *(check(evidence) for check in checks), *evidence.runs.doubts, *further]
    known = (MEASURED if evidence.misfit_measured else set()) | (OF_FIVE if evidence.members is not None else set())
    said = [replace(finding, severity="info") if finding.code in known else finding for finding in filter(None, found)]
    return gravest_first(said)


def verdict(diagnostics: Iterable[Diagnostic], quantity: str, error: float) -> str:
    """What is to be thought of "N_opt", "D_opt" or "loss" at a target, where `error` is its relative error at 90 %.

    "trustworthy": within `LIMITS`, and no finding speaks against it; "not supported": as likely outside as not, or an
    error among the findings; "provisional" between. An error of `DOUBTS` is one only where `error` is not within the
    limit. Warnings about N_opt alone do not count against the loss.
    """
    counted = [finding for finding in diagnostics if finding.code not in (OF_SIZE if quantity == "loss" else OF_LOSS)]
    errors = {finding.code for finding in counted if finding.severity == "error"}
    ratio = math.log1p(error) / math.log1p(LIMITS[quantity])
    if errors - DOUBTS or (errors and ratio > 1) or not ratio <= EVEN:
        return "not supported"
    return "provisional" if ratio > 1 or {f.severity for f in counted} - {"info"} else "trustworthy"


def worst(verdicts: Iterable[str]) -> str:
    """The gravest of several."""
    return max(verdicts, key=VERDICTS.index)


def too_far(runs: Runs, budgets: Iterable[float]) -> list[str]:
    """A sentence for each of `budgets` that is too far from the runs: how far, and what to train for it."""
    found = (extrapolation(runs, compute) for compute in budgets)
    return [f"{finding.message}; {finding.remedy}" for finding in found if finding is not None]


def extrapolation(runs: Runs, compute: float) -> Diagnostic | None:
    """A finding where C lies beyond 100 times the largest (or below a hundredth of the smallest) run."""
    top, bottom = float(runs.flops.max()), float(runs.flops.min())
    factor = compute / top if compute > top else bottom / compute
    if factor <= 101:  # 100 times a budget, of which the runs may have spent a little less
        return None
    return Diagnostic(
        code="extrapolation",
        severity="warning" if factor <= 1e4 else "error",
        message=f"{format_flops(compute)} FLOPs is {format_count(factor)} times beyond the runs "
        f"({format_flops(bottom)} to {format_flops(top)}); beyond 100 the law is a guess",
        remedy=f"train a budget of at least {format_flops(compute / 100 if compute > top else compute * 100)} FLOPs",
    )
