"""Checks of the fit: what it rests on, what it leaves unexplained, how it predicts. Each returns a finding or None."""

from __future__ import annotations

import numpy as np
from scipy import special

from flops_fit.basics.diagnostic import Diagnostic
from flops_fit.basics.formatting import format_count, format_flops
from flops_fit.scaling_law.approaches.isoflop import fit_power_law
from flops_fit.scaling_law.checks.evidence import Evidence
from flops_fit.scaling_law.checks.holdout import compute_groups
from flops_fit.scaling_law.fitting.held import at_end
from flops_fit.scaling_law.fitting.objective import PARAMETERS
from flops_fit.scaling_law.fitting.shape import BEND

MAX_CONDITION = 1e7
UNDETERMINED = 1e11  # of studies with a law it stays below 1e9, without one it is above 1e13: rounding never decides
ONE_LINE = 1e-4  # 1 - |correlation| of ln N and ln D: 1e-15 with one budget or one ratio, above 1e-2 in any grid
SIGNIFICANT = 1e-3
APART = 0.15  # in the exponent of N_opt, beyond which two approaches disagree


def undetermined(evidence: Evidence) -> Diagnostic | None:
    """A finding where other parameters fit the runs as well; no number of the fit means anything then."""
    log_n, log_d = np.log(evidence.runs.num_params), np.log(evidence.runs.num_tokens)
    with np.errstate(invalid="ignore", divide="ignore"):  # all N or all D equal: the condition number tells
        one_line = 1 - abs(np.corrcoef(log_n, log_d)[0, 1]) < ONE_LINE
    if not one_line and evidence.information_condition() < UNDETERMINED:
        return None
    why = "D follows from N in all of them" if one_line else "the loss changes too little with N, with D or with both"
    return Diagnostic(
        code="undetermined",
        severity="error",
        message=f"the runs do not determine the law: {why}, and very different parameters fit them as well",
        remedy="train sizes well below and above the optimum at each of several budgets",
    )


def _range_ends(evidence: Evidence) -> Diagnostic | None:
    fit = evidence.fit
    reached = at_end(fit.theta, fit.data)
    if not reached:
        return None
    values = dict(zip(PARAMETERS, fit.parameters, strict=True))
    named = " and ".join(f"{name} = {values[name]:.4g}" for name in reached)
    return Diagnostic(
        code="range_end",
        severity="warning",
        message=f"{named} {'is an end' if len(reached) == 1 else 'are ends'} of the range given: the runs ask for more",
        remedy="widen the range in fix, or ask whether what is known holds for these runs",
    )


def _bounds(evidence: Evidence) -> Diagnostic | None:
    bounds = [name for name in evidence.fit.at_bound if name not in at_end(evidence.fit.theta, evidence.fit.data)]
    if not bounds:
        return None
    exponents = [name for name in bounds if name != "E"]
    return Diagnostic(
        code="at_bound",
        severity="error" if exponents else "warning",
        message=f"{' and '.join(bounds)} ended at the edge of its range: the runs do not determine it",
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


def _leverage(evidence: Evidence) -> Diagnostic | None:
    change = np.abs(np.nan_to_num(evidence.leave_one_out(), nan=50.0, posinf=50.0, neginf=50.0))
    worst = int(np.argmax(change))
    if change[worst] <= 0.1 or change[worst] ** 2 <= (change**2).sum() / 2:
        return None
    run = evidence.runs.experiment_id[int(np.argmax(evidence.runs.cluster == worst))]
    return Diagnostic(
        code="high_leverage",
        severity="warning",
        message=f"one run decides: without {run}, N_opt at {format_flops(evidence.far)} FLOPs changes by a factor "
        f"{_factor(float(np.exp(min(change[worst], 50))))}",
        remedy="train that run again with another seed, and its neighbours",
    )


def _residual_trend(evidence: Evidence) -> Diagnostic | None:
    groups = compute_groups(evidence.runs)
    levels, inverse, counts = np.unique(groups, return_inverse=True, return_counts=True)
    used = counts >= 3
    freedom = int(used.sum()) - 3
    if freedom < 1 or evidence.fit.sigma < 1e-7:
        return None
    clipped = np.clip(evidence.standardised, -2, 2)
    means = np.bincount(inverse, weights=clipped) / counts
    within = clipped - means[inverse]
    variance = float((within**2).sum() / max(len(within) - len(levels), 1))
    statistic = float((counts * means**2)[used].sum() / freedom / max(variance, 1e-12))
    chance = float(special.fdtrc(freedom, max(len(within) - len(levels), 1), statistic))
    if chance > SIGNIFICANT:
        return None
    worst = int(np.argmax(np.where(used, np.abs(means) * np.sqrt(counts), 0)))
    compute = float(np.median(evidence.runs.flops[inverse == worst]))
    off = float(-np.median(evidence.fit.residual[inverse == worst]))
    return Diagnostic(
        code="residual_trend",
        severity="warning",
        message=f"residuals change with compute: losses near {format_flops(compute)} FLOPs lie {100 * off:+.2f} % from "
        f"the law (chance {chance:.1g})",
        remedy="check that learning rate, batch and schedule fit every budget; extrapolate less far",
    )


def _lack_of_fit(evidence: Evidence) -> Diagnostic | None:
    runs = evidence.runs
    same = runs.configuration
    counts = np.bincount(same)
    repeated = (counts > 1)[same]
    freedom = int((counts[counts > 1] - 1).sum())
    if freedom < 3:
        return None
    logs = np.log(runs.loss)
    means = np.bincount(same, weights=logs) / np.maximum(counts, 1)
    noise = float(((logs - means[same])[repeated] ** 2).sum() / freedom)
    misfit = np.bincount(same, weights=-evidence.fit.residual / evidence.fit.scale) / np.maximum(counts, 1)
    between = int((counts > 0).sum()) - 5
    if between < 1 or noise < 1e-20:
        return None
    statistic = float((counts * misfit**2).sum() / between / noise)
    if special.fdtrc(between, freedom, statistic) > SIGNIFICANT:
        return None
    return Diagnostic(
        code="lack_of_fit",
        severity="warning",
        message=f"the law misfits {np.sqrt(statistic):.1f} times the noise of the seeds ({100 * np.sqrt(noise):.2g} %)",
        remedy="the law's form does not hold over this range: keep to runs nearer the optimum and to larger budgets",
    )


def _identifiability(evidence: Evidence) -> Diagnostic | None:
    condition = evidence.information_condition()
    low, high = evidence.log_N_interval()
    factor = float(np.exp(min(high - low, 50.0))) if np.isfinite(high - low) else np.inf
    if condition < MAX_CONDITION and factor < 4:
        return None
    return Diagnostic(
        code="weakly_identified",
        severity="error" if factor > 100 else "warning",
        message=f"N_opt is loose: its 90 % interval at {format_flops(evidence.far)} FLOPs spans a "
        f"factor {_factor(factor)} (condition number {condition:.1e})",
        remedy="spread the runs: more budgets over more decades, sizes further from the optimum, more seeds",
    )


def _outliers(evidence: Evidence) -> Diagnostic | None:
    if evidence.fit.sigma < 1e-7:
        return None
    size = np.abs(evidence.standardised)
    far = np.flatnonzero(size > 5)
    if not len(far):
        return None
    worst = far[np.argsort(-size[far])][:3]
    named = ", ".join(f"{evidence.runs.experiment_id[i]} ({-100 * evidence.fit.residual[i]:+.1f} %)" for i in worst)
    return Diagnostic(
        code="outliers",
        severity="warning" if len(far) > 0.1 * len(size) else "info",
        message=f"{_runs(len(far))} more than 5 standard deviations from the law: {named}; their pull is bounded",
        remedy="look at these runs: an unstable training, another recipe, or a law that fails far from the optimum",
    )


def _held_out(evidence: Evidence) -> Diagnostic | None:
    test = evidence.holdout
    if test is None:
        return None
    limit = max(0.01, 4 * test.sigma)
    off = max(test.N_ratio, 1 / test.N_ratio) if test.N_ratio > 0 else np.inf
    if abs(test.bias) <= limit and off <= 1.5:
        return None
    return Diagnostic(
        code="holdout_error",
        severity="warning",
        message=f"fitted without the largest budget, the law misses its losses by {100 * test.bias:+.2f} % "
        f"and N_opt there by a factor {off:.2f}",
        remedy="do not extrapolate further than one more budget; train larger budgets or closer to the optimum",
    )


def _approaches(evidence: Evidence) -> Diagnostic | None:
    inside = [minimum for minimum in evidence.minima if minimum.interior]
    if len(inside) < 3:
        return None
    top = float(evidence.runs.flops.max())
    compute = 10 * top
    own = fit_power_law(np.array([m.compute_budget for m in inside]), np.array([m.N / m.bias for m in inside]))
    law = evidence.N_opt(compute)
    factor = float(own(compute)) / law
    exponent = float(np.log10(law / evidence.N_opt(top)))
    if max(factor, 1 / factor) <= 1.5 and abs(own.exponent - exponent) <= APART:
        return None
    return Diagnostic(
        code="approaches_disagree",
        severity="warning",
        message=f"at {format_flops(compute)} FLOPs the budgets' own minima point to N = "
        f"{format_count(float(own(compute)))} (a = {own.exponent:.2f}), the law to {format_count(law)} "
        f"(a = {exponent:.2f})",
        remedy="add sizes on both sides of the optimum; while the two differ, trust neither far beyond the runs",
    )


def _bend(evidence: Evidence) -> Diagnostic | None:
    chance = evidence.bend_chance
    if chance is None or chance >= BEND:
        return None
    measured = evidence.misfit_measured
    return Diagnostic(
        code="law_bends",
        severity="info" if measured else "warning",
        message=f"the runs bend away from the five-parameter law (chance {chance:.1g})"
        + ("" if measured else ", which its intervals, about sampling alone, know nothing of"),
        remedy="read the intervals, which hold the misfit" if measured else "fit with form='auto'",
    )


def _curve_bias(evidence: Evidence) -> Diagnostic | None:
    biases = {m.compute_budget: m.bias for m in evidence.minima if m.interior and abs(np.log(m.bias)) > 0.05}
    if not biases:
        return None
    worst = max(biases, key=lambda budget: abs(np.log(biases[budget])))
    return Diagnostic(
        code="curve_bias",
        severity="info",
        message=f"a parabola over these sizes misses the law's own optimum by up to a factor {biases[worst]:.2f} (at "
        f"{format_flops(worst)} FLOPs): the grid is off-centre or wide, or the curve is skewed",
        remedy="trust the law's N_opt over the budgets' own minima, or centre the sizes on the optimum",
    )


def _alternative(evidence: Evidence) -> Diagnostic | None:
    if evidence.other is None:
        return None
    ratio = float(np.exp(evidence.log_N_opt(evidence.other.parameters) - evidence.log_N_opt(evidence.fit.parameters)))
    if max(ratio, 1 / ratio) <= 1.25:
        return None
    kind = "weighting all runs alike" if (evidence.fit.scale != 1).any() else "weighting runs near the valley"
    return Diagnostic(
        code="weighting_matters",
        severity="warning",
        message=f"{kind} would change N_opt at {format_flops(evidence.far)} FLOPs by a factor {ratio:.2f}: the "
        "law's form does not hold everywhere",
        remedy="train more runs near the optimum and at larger budgets",
    )


def _factor(value: float) -> str:
    return format_count(value) if value < 1e6 else "over a million"


def _runs(count: int) -> str:
    return "1 run lies" if count == 1 else f"{count} runs lie"


CHECKS = (
    _bounds,
    _range_ends,
    _convergence,
    _leverage,
    _residual_trend,
    _lack_of_fit,
    _identifiability,
    _outliers,
    _held_out,
    _approaches,
    _curve_bias,
    _alternative,
    _bend,
)
