"""What would make the answer untrustworthy, as data: each check is one small function."""

from __future__ import annotations

from collections.abc import Iterable

from flops_fit.basics.formatting import format_count, format_flops
from flops_fit.scaling_law.checks import of_design as design_checks
from flops_fit.scaling_law.checks import of_fit as fit_checks
from flops_fit.scaling_law.checks.diagnostic import SEVERITIES, Diagnostic
from flops_fit.scaling_law.checks.evidence import Evidence
from flops_fit.scaling_law.table.runs import Runs


def diagnose(evidence: Evidence) -> tuple[Diagnostic, ...]:
    """Every finding, gravest first; of a fit that the runs do not determine only that."""
    lost = fit_checks.undetermined(evidence)
    checks = design_checks.CHECKS if lost else (*design_checks.CHECKS, *fit_checks.CHECKS)
    found: list[Diagnostic | None] = [lost, *(check(evidence) for check in checks)]
    return tuple(sorted(filter(None, found), key=lambda finding: -SEVERITIES.index(finding.severity)))


def verdict(diagnostics: tuple[Diagnostic, ...]) -> str:
    """ "not supported" with any error, "provisional" with any warning, else "trustworthy"."""
    severities = {finding.severity for finding in diagnostics}
    return "not supported" if "error" in severities else "provisional" if "warning" in severities else "trustworthy"


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
