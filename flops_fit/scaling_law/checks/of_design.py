"""Checks of the study itself: budgets, grid, coverage, excluded runs. Each returns a finding or None."""

from __future__ import annotations

import numpy as np

from flops_fit.basics.diagnostic import Diagnostic
from flops_fit.basics.formatting import format_flops
from flops_fit.scaling_law.checks import of_trunks
from flops_fit.scaling_law.checks.evidence import Evidence
from flops_fit.scaling_law.checks.holdout import compute_groups

DEVIATES = 0.1  # root mean square of ln(flops / (f(N)·D))


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
    inside = len(evidence.minima) - len(outside)
    few = inside < max(2, len(evidence.minima) / 4)
    enough = inside >= max(3, len(evidence.minima) / 2)
    reasons: dict[str, list[str]] = {}
    for minimum in outside:
        reasons.setdefault(minimum.reason, []).append(format_flops(minimum.compute_budget))
    named = "; ".join(f"{reason}: {', '.join(budgets)} FLOPs" for reason, budgets in reasons.items())
    sides = [
        side for side, word in (("smaller", "below"), ("larger", "above")) if any(word in said for said in reasons)
    ]
    return Diagnostic(
        code="no_interior_minimum",
        severity="error" if few else "info" if enough else "warning",
        message=f"no interior minimum in {len(outside)} of {len(evidence.minima)} budgets ({named})",
        remedy=f"add {' and '.join(sides or ['smaller', 'larger'])} models to these budgets",
    )


def _budgets(evidence: Evidence) -> Diagnostic | None:
    count = len(evidence.minima) or len(np.unique(compute_groups(evidence.runs)))
    if count >= 3:
        return None
    return Diagnostic(
        code="too_few_budgets",
        severity="error" if count < 2 else "warning",
        message=f"too few budgets: {count}, so "
        + ("nothing shows the trend with compute" if count < 2 else "the trend with compute rests on two points"),
        remedy="train at least 3 compute budgets, better 4 or 5 over two decades",
    )


def _compute_range(evidence: Evidence) -> Diagnostic | None:
    decades = evidence.runs.log_flops_range
    if decades >= 0.99:  # a factor 9.8: budgets a factor 10 apart differ from it by the rounding of tokens
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
        message=f"{count} runs for 5 parameters are too few to judge the fit",
        remedy="train at least 12 runs, better 20 or more",
    )


def _token_coverage(evidence: Evidence) -> Diagnostic | None:
    ratio = evidence.runs.num_tokens / evidence.runs.num_params
    factor = float(ratio.max() / ratio.min())
    if factor >= 3.99:
        return None
    equal = factor < 1.05
    return Diagnostic(
        code="tokens_per_param_unidentifiable" if equal else "narrow_tokens_per_param",
        severity="error" if equal else "warning",
        message=f"tokens per parameter lie within a factor {factor:.2f} ({ratio.min():.3g} to {ratio.max():.3g}): "
        + ("the roles of N and D cannot be told apart" if equal else "the roles of N and D are hard to tell apart"),
        remedy="train sizes well below and above the optimum at each budget",
    )


def _flops_deviate(evidence: Evidence) -> Diagnostic | None:
    misfit = evidence.flops_per_token.misfit
    if misfit <= DEVIATES:
        return None
    runs = evidence.runs
    away = np.log(runs.flops / (evidence.flops_per_token(runs.num_params) * runs.num_tokens))
    worst = np.argsort(-np.abs(away), kind="stable")[:3]
    named = ", ".join(f"{runs.experiment_id[at]} x{np.exp(away[at]):.3g}" for at in worst)
    return Diagnostic(
        code="flops_deviate",
        severity="warning",
        message=f"the runs' FLOPs deviate by {misfit:.0%} from any smooth function of N times their tokens "
        f"(most {named}), so what a budget of so many FLOPs buys is not known",
        remedy="correct the columns flops, num_params and num_tokens, or have 6·N·D: --columns flops=none",
    )


def _excluded(evidence: Evidence) -> Diagnostic | None:
    excluded = evidence.runs.excluded
    if not excluded:
        return None
    lost = [item for item in excluded if not item.reason.startswith(("repeats", "step "))]
    diverged = sum(item.reason.startswith("taken for diverged") for item in excluded)
    share = len(lost) / (len(lost) + len(evidence.runs))
    first = "; ".join(f"{item.experiment_id}: {item.reason}" for item in excluded[:3])
    were = "run was" if len(excluded) == 1 else "runs were"
    return Diagnostic(
        code="excluded_runs",
        severity="warning" if share > 0.2 else "info",
        message=f"{len(excluded)} {were} excluded ({first}{'; …' if len(excluded) > 3 else ''})",
        remedy="see law.runs.excluded for all of them; train them again if they failed by accident"
        + ("; if the column holds losses of two kinds, keep one of them" if diverged > len(evidence.runs) / 10 else ""),
    )


def _repetition(evidence: Evidence) -> Diagnostic | None:
    epochs = evidence.runs.epochs
    most = float(np.nanmax(epochs)) if np.isfinite(epochs).any() else 0.0
    if most <= 1.0 + 1e-9:
        return None
    repeated = int((epochs > 1.0 + 1e-9).sum())
    return Diagnostic(
        code="repeated_data",
        severity="warning" if most > 4.01 else "info",
        message=f"{repeated} runs saw data more than once (to {most:.3g} epochs), which no law of fresh data fits",
        remedy="use more data, or fit with effective tokens (see effective_tokens)",
    )


CHECKS = (
    _interior_minima,
    _budgets,
    _compute_range,
    _run_count,
    _token_coverage,
    _flops_deviate,
    _excluded,
    _repetition,
    *of_trunks.CHECKS,
)
