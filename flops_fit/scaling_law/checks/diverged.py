"""Runs that ended but diverged: losses that no law of fresh data has, whatever its parameters.

Loss falls with N at fixed D and with D at fixed N; at fixed compute it falls with N up to the optimum and rises beyond.
So a run may not lie above smaller models that saw fewer tokens, nor above both smaller and larger models of its budget,
nor far above the law of the runs that fit best. Nor does loss fall faster than with the root of N or D, so that any
other two runs bound it. What lies half as high again is taken for diverged; above that law the smallest size of a
budget twice as far: so far from the optimum the form need not hold, and small models are stable.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from flops_fit.scaling_law.fitting.objective import LARGE
from flops_fit.scaling_law.fitting.parametric import fit_parametric
from flops_fit.scaling_law.fitting.uncertainty import linearised, refit
from flops_fit.scaling_law.quantities import law_loss
from flops_fit.scaling_law.table.runs import ExcludedRun, Runs

ABOVE = 0.4  # of ln L: the finished runs of public studies stay below 0.38 (docs/fitting.md),
STEEPEST = 0.5  # power of N or D that loss falls with at most; the finished runs of public studies keep to 0.3
SCATTER = 5.0  # and so many robust standard deviations above the law
TRIMS, SUSPECTS, FEWEST = 6, 20, 12
AT_THE_EDGE = 2.0  # times as far may the smallest size of a budget be above the law
ENOUGH = 20  # runs for a law to judge others by; with fewer, one that the form does not fit would look diverged
COMPARED = 300  # runs that each is compared with in large tables
EQUAL = 1e-9


def without_diverged(runs: Runs) -> Runs:
    """The runs without those taken for diverged, which are excluded with the reason."""
    reasons = diverged(runs)
    if not reasons:
        return runs
    rows = (np.arange(len(runs)) if runs.row is None else runs.row).tolist()
    keep = np.array([at not in reasons for at in range(len(runs))])
    said = [ExcludedRun(row=rows[at], experiment_id=runs.experiment_id[at], reason=why) for at, why in reasons.items()]
    return replace(runs.subset(keep), excluded=tuple(sorted((*runs.excluded, *said), key=lambda item: item.row)))


def diverged(runs: Runs) -> dict[int, str]:
    """Index of each run taken for diverged, and why: found, left out, and looked for again until there are none. Runs
    that saw data more than once are not judged: repetition raises the loss too."""
    found: dict[int, str] = {}
    fresh = ~(runs.epochs > 1 + EQUAL)
    left = np.arange(len(runs))
    while len(left) >= FEWEST:
        part = runs.subset(np.isin(np.arange(len(runs)), left))
        above, words = above_others(part), "what its neighbours in N and D leave it"
        far = (above > ABOVE) & fresh[left]
        if not far.any() and len(part) < ENOUGH:
            break
        if not far.any():
            above, words = above_law(part), "the law of the runs that fit best"
            limit = max(ABOVE, SCATTER * 1.4826 * float(np.median(np.abs(above))))
            far = (above > limit * np.where(_smallest_of_budget(part), AT_THE_EDGE, 1.0)) & fresh[left]
        if not far.any():
            break
        for at, much in zip(left[far].tolist(), above[far], strict=True):
            found[at] = f"taken for diverged: its loss {runs.loss[at]:.4g} is {np.exp(much):.3g} times {words}"
        left = left[~far]
    return found


def above_others(runs: Runs) -> np.ndarray:
    """By how much each run's ln L is above the most that others leave it, shape (runs,); -inf where none do."""
    log_n, log_d, log_loss = np.log(runs.num_params), np.log(runs.num_tokens), np.log(runs.loss)
    chosen = np.linspace(0, len(runs) - 1, COMPARED if len(runs) > LARGE else len(runs)).astype(int)
    bound = np.full(len(runs), np.inf)
    for start in range(0, len(runs), 500):
        part = slice(start, start + 500)
        more_n, more_d = log_n[chosen] - log_n[part, None], log_d[chosen] - log_d[part, None]
        same = runs.budget[chosen] == runs.budget[part, None]
        smaller = (more_n <= EQUAL) & (more_d <= EQUAL) & (more_n + more_d < -EQUAL)
        left, right = (_second_lowest(log_loss[chosen], same & side) for side in (more_n < -EQUAL, more_n > EQUAL))
        least = log_loss[chosen] + STEEPEST * (np.maximum(more_n, 0) + np.maximum(more_d, 0))
        others = chosen != np.arange(len(runs))[part, None]
        bound[part] = np.minimum.reduce(
            [_second_lowest(log_loss[chosen], smaller), np.maximum(left, right), _second_lowest(least, others)]
        )
    return log_loss - bound


def above_law(runs: Runs) -> np.ndarray:
    """`ln L - ln L_pred` of each run, shape (runs,), for a law fitted to the three quarters of the runs that fit best;
    for the runs with the most leverage, which can bend a law to themselves, one fitted without them."""
    keep = np.ones(len(runs), dtype=bool)
    for _ in range(TRIMS):
        fitted, part = keep, runs.subset(keep)
        fit = fit_parametric(part.num_params, part.num_tokens, part.loss, weights=part.weight)
        off = _off(runs, fit.parameters, np.arange(len(runs)))
        keep = np.abs(off) <= np.quantile(np.abs(off), 0.75)
        if (keep == fitted).all():
            break
    suspects = np.argsort(-linearised(fit).leverage)[:SUSPECTS]
    at = np.flatnonzero(fitted)[suspects]
    off[at] = _off(runs, refit(fit, (np.arange(len(part)) != suspects[:, None]).astype(float)), at)
    return off


def _smallest_of_budget(runs: Runs) -> np.ndarray:
    """Whether each run has the fewest parameters of its budget, shape (runs,)."""
    _, at = np.unique(runs.budget, return_inverse=True)
    least = np.full(at.max() + 1, np.inf)
    np.minimum.at(least, at, runs.num_params)
    return runs.num_params <= least[at]


def _off(runs: Runs, parameters: np.ndarray, at: np.ndarray) -> np.ndarray:
    with np.errstate(all="ignore"):  # laws that the runs do not determine
        off = np.log(runs.loss[at] / law_loss(parameters, runs.num_params[at], runs.num_tokens[at]))
    return np.nan_to_num(off, nan=0.0)


def _second_lowest(values: np.ndarray, among: np.ndarray) -> np.ndarray:
    """The second lowest of `values`, (runs,) or (rows, runs), where `among` (rows, runs) holds, so that no lucky run
    decides; the lowest of one, infinity of none."""
    lowest = np.partition(np.where(among, values, np.inf), 1, axis=1)[:, :2]
    return np.where(np.isfinite(lowest[:, 1]), lowest[:, 1], lowest[:, 0])
