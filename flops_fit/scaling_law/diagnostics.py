"""What would make the answer untrustworthy, as data: each check is one small function."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from flops_fit.formatting import format_count, format_flops
from flops_fit.scaling_law.isoflop import IsoflopMinimum
from flops_fit.scaling_law.parametric import ParametricFit
from flops_fit.scaling_law.runs import Runs

SEVERITIES = ("info", "warning", "error")


@dataclass(frozen=True, kw_only=True)
class Diagnostic:
    """One finding: a stable `code`, how much it matters, what was found and what to do about it."""

    code: str
    severity: str
    message: str
    remedy: str

    def to_dict(self) -> dict[str, str]:
        """Plain JSON values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Diagnostic:
        """The inverse of `to_dict`."""
        return cls(**content)


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """What the checks look at."""

    runs: Runs
    fit: ParametricFit
    minima: tuple[IsoflopMinimum, ...]


def diagnose(evidence: Evidence) -> tuple[Diagnostic, ...]:
    """Every finding, gravest first."""
    found = [finding for check in CHECKS if (finding := check(evidence)) is not None]
    return tuple(sorted(found, key=lambda finding: -SEVERITIES.index(finding.severity)))


def verdict(diagnostics: tuple[Diagnostic, ...]) -> str:
    """ "not supported" with any error, "provisional" with any warning, else "trustworthy"."""
    severities = {finding.severity for finding in diagnostics}
    return "not supported" if "error" in severities else "provisional" if "warning" in severities else "trustworthy"


def _interior_minima(evidence: Evidence) -> Diagnostic | None:
    outside = [minimum for minimum in evidence.minima if not minimum.interior]
    if evidence.minima and not outside:
        return None
    if not evidence.minima:
        return Diagnostic(
            code="no_isoflop_curves",
            severity="warning",
            message="no budget has 3 or more sizes, so no IsoFLOP curve can be drawn",
            remedy="train at least 5 sizes per compute budget",
        )
    named = "; ".join(f"{format_flops(minimum.compute_budget)} FLOPs: {minimum.reason}" for minimum in outside)
    below = sum("below" in minimum.reason for minimum in outside)
    return Diagnostic(
        code="no_interior_minimum",
        severity="error" if 2 * len(outside) > len(evidence.minima) else "warning",
        message=f"no interior minimum in {len(outside)} of {len(evidence.minima)} budgets ({named})",
        remedy=f"add {'smaller' if 2 * below > len(outside) else 'larger'} models to these budgets",
    )


def _budgets(evidence: Evidence) -> Diagnostic | None:
    count = max(len(evidence.minima), len(evidence.runs.budgets))
    if count >= 3:
        return None
    return Diagnostic(
        code="too_few_budgets",
        severity="error" if count < 2 else "warning",
        message=f"too few budgets: {count}, so the trend with compute rests on {'nothing' if count < 2 else '2'}",
        remedy="train at least 3 compute budgets, better 4 or 5 over two decades",
    )


def _compute_range(evidence: Evidence) -> Diagnostic | None:
    decades = evidence.runs.log_flops_range
    if decades >= 1.0:
        return None
    return Diagnostic(
        code="narrow_compute_range",
        severity="warning",
        message=f"the runs span a factor {10**decades:.3g} in compute; exponents from less than a factor 10 are weak",
        remedy="add budgets so that the largest is at least 30 times the smallest",
    )


def _run_count(evidence: Evidence) -> Diagnostic | None:
    count = len(evidence.runs)
    if count >= 12:
        return None
    return Diagnostic(
        code="too_few_runs",
        severity="warning",
        message=f"{count} runs for 5 parameters leave little to judge the fit by",
        remedy="train at least 12 runs, better 20 or more",
    )


def _token_coverage(evidence: Evidence) -> Diagnostic | None:
    ratio = evidence.runs.num_tokens / evidence.runs.num_params
    factor = float(ratio.max() / ratio.min())
    if factor >= 4.0:
        return None
    equal = factor < 1.05
    return Diagnostic(
        code="tokens_per_param_unidentifiable" if equal else "narrow_tokens_per_param",
        severity="error" if equal else "warning",
        message=f"tokens per parameter lie within a factor {factor:.2f} ({ratio.min():.3g} to {ratio.max():.3g}): "
        + ("the roles of N and D cannot be told apart" if equal else "the roles of N and D are hard to tell apart"),
        remedy="train sizes well below and above the optimum at each budget",
    )


def _bounds(evidence: Evidence) -> Diagnostic | None:
    if not evidence.fit.at_bound:
        return None
    exponents = [name for name in evidence.fit.at_bound if name != "E"]
    return Diagnostic(
        code="at_bound",
        severity="error" if exponents else "warning",
        message=f"{' and '.join(evidence.fit.at_bound)} ended at the bound of what is allowed: the runs do not fix it",
        remedy="add larger budgets to see the curve flatten" if not exponents else "add runs that vary N and D apart",
    )


def _convergence(evidence: Evidence) -> Diagnostic | None:
    if evidence.fit.converged:
        return None
    return Diagnostic(
        code="not_converged",
        severity="error",
        message="the fit did not converge",
        remedy="look at the runs for duplicates or values of another scale",
    )


def _excluded(evidence: Evidence) -> Diagnostic | None:
    excluded = evidence.runs.excluded
    if not excluded:
        return None
    share = len(excluded) / (len(excluded) + len(evidence.runs))
    first = "; ".join(f"{item.experiment_id}: {item.reason}" for item in excluded[:3])
    return Diagnostic(
        code="excluded_runs",
        severity="warning" if share > 0.2 else "info",
        message=f"{len(excluded)} runs were not used ({first}{'; …' if len(excluded) > 3 else ''})",
        remedy="see law.runs.excluded for all of them; train them again if they failed by accident",
    )


def extrapolation(runs: Runs, compute: float) -> Diagnostic | None:
    """A finding where C lies beyond 100 times the largest (or below a hundredth of the smallest) run."""
    top, bottom = float(runs.flops.max()), float(runs.flops.min())
    factor = compute / top if compute > top else bottom / compute
    if factor <= 100:
        return None
    return Diagnostic(
        code="extrapolation",
        severity="warning" if factor <= 1e4 else "error",
        message=f"{format_flops(compute)} FLOPs is {format_count(factor)} times beyond the runs "
        f"({format_flops(bottom)} to {format_flops(top)}); beyond 100 the law is a guess",
        remedy=f"train a budget of at least {format_flops(compute / 100 if compute > top else compute * 100)} FLOPs",
    )


CHECKS = (
    _interior_minima,
    _budgets,
    _compute_range,
    _run_count,
    _token_coverage,
    _bounds,
    _convergence,
    _excluded,
)
