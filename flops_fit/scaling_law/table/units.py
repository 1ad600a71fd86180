"""Do parameters, tokens, FLOPs and losses look like what they are called? What FLOPs/(N·D), D/N and the losses say.

FLOPs per parameter and token are 6 (forward and backward), 2 (forward alone) or 8 (with recomputation), more for
attention over long contexts and much more where a parameter is used many times (convolutions). Tokens per parameter lie
between one and some thousands in any published study.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np
import pandas as pd

from flops_fit.basics.diagnostic import Diagnostic
from flops_fit.basics.formatting import format_count

FLOPS_RATIOS = (0.05, 3e4)  # of FLOPs to N·D, that models may have
USUAL_RATIOS = (1.0, 60.0)  # that a unit has to explain them by
TOKENS_PER_PARAM = (0.3, 3e4)
LEAST_PARAMS, LEAST_TOKENS = 1e5, 1e6  # the largest of a table without FLOPs: below, they may be thousands or millions
MOST_NATS = 15.0  # a vocabulary of three million tokens, all as likely
RISES = 0.5  # rank correlation of loss and compute
PF_DAY = 8.64e19
APART, TIGHT = 0.05, 0.005  # of ln FLOPs/(N·D): between ways of counting, and within one
FAR_OFF, ALIKE = 1.5, 1.0  # of ln FLOPs/(N·D) from the median: rows that are wrong, and the most that others differ by
FEW_RUNS, A_FEW = 8, 0.1  # the least of runs to tell by, and the largest share that may be wrong
SIZES, MOSTLY = 3, 0.8  # sizes that share a way, and the share of runs that such ways hold
_FACTORS: Mapping[str, tuple[float, ...]] = {
    "num_params": (1e3, 1e6, 1e9),
    "num_tokens": (1e3, 1e6, 1e9),
    "flops": (1e9, 1e12, 1e15, 1e18, PF_DAY, 1e21),
}


def doubts(
    N: np.ndarray, D: np.ndarray, C: np.ndarray, loss: np.ndarray, *, confirmed: Collection[str], derived: bool
) -> tuple[Diagnostic, ...]:
    """Findings about the units of runs, arrays of shape (runs,).

    `confirmed` are columns whose units were given, of which nothing is said; `derived`: FLOPs or tokens follow from the
    others, so that they confirm nothing.
    """
    counts = {"num_params", "num_tokens"} & {*confirmed}
    known = derived or (len(counts) == 2 and "flops" in confirmed)
    ratio = None if known else _ratio(N, D, C, confirmed)
    found = [
        ratio,
        None if derived or "flops" in confirmed else _conventions(N, D, C),
        _tokens_per_param(N, D) if ratio is None and not counts else None,
        _small(N, D, confirmed) if derived and len(counts) < 2 else None,
    ]
    if "loss" not in confirmed:
        found += [_large_loss(loss), _rising_loss(C, loss)]
    return tuple(filter(None, found))


def outlying_flops(table: pd.DataFrame) -> dict[int, float]:
    """Row → its FLOPs/(N·D) over the median, of a few rows that are far off where all others are alike."""
    if len(table) < FEW_RUNS:
        return {}
    N, D, C = (table[name].to_numpy(dtype=float) for name in ("num_params", "num_tokens", "flops"))
    logs = np.log(C / N / D) - np.median(np.log(C / N / D))
    off = np.abs(logs) > FAR_OFF
    alike = not off.all() and np.ptp(logs[~off]) < ALIKE
    if not alike or off.mean() > A_FEW:
        return {}
    rows = table.index.to_numpy()
    return {int(rows[at]): float(np.exp(logs[at])) for at in np.flatnonzero(off)}


def explaining(N: float, D: float, C: float, confirmed: Collection[str] = ()) -> list[dict[str, float]]:
    """Units, by column, under which FLOPs and tokens per parameter are usual."""
    single = [{name: factor} for name, factors in _FACTORS.items() for factor in factors]
    both = [{"num_params": factor, "num_tokens": factor} for factor in (1e3, 1e6, 1e9)]
    fits = []
    for units in [*single, *both]:
        n, d, c = (x * units.get(name, 1.0) for x, name in ((N, "num_params"), (D, "num_tokens"), (C, "flops")))
        usual = USUAL_RATIOS[0] <= c / n / d <= USUAL_RATIOS[1] and TOKENS_PER_PARAM[0] <= d / n <= TOKENS_PER_PARAM[1]
        if usual and not set(units) & {*confirmed}:
            fits.append(units)
    return fits


def typed(units: Mapping[str, float]) -> str:
    """How units are given, on the command line and in Python."""
    line = ",".join(f"{name}={factor:g}" for name, factor in units.items())
    code = ", ".join(f'"{name}": {factor:g}' for name, factor in units.items())
    return f"--units {line}, in Python units={{{code}}}"


def _ratio(N: np.ndarray, D: np.ndarray, C: np.ndarray, confirmed: Collection[str]) -> Diagnostic | None:
    ratio = float(np.median(C / N / D))
    if FLOPS_RATIOS[0] <= ratio <= FLOPS_RATIOS[1]:
        return None
    fits = explaining(float(np.median(N)), float(np.median(D)), float(np.median(C)), confirmed)
    exact = [units for units in fits if _is_usual(ratio * units.get("flops", 1.0) / _others(units))]
    fits = exact or fits
    said = [" and ".join(f"{name} in units of {x:g}" for name, x in units.items()) for units in fits]
    steps = ratio / 6  # tokens in each, if num_tokens counts steps
    if not exact and steps > 1:
        fits.append({"num_tokens": float(f"{steps:.3g}")})
        said.append(f"num_tokens that count steps of {format_count(steps)} tokens")
    remedy = f"if so, give {' or '.join(typed(units) for units in fits)}" if fits else "correct the columns"
    sure = typed({"num_params": 1, "num_tokens": 1, "flops": 1})
    return Diagnostic(
        code="units",
        severity="error",
        message=f"FLOPs are {ratio:.3g} per parameter and token, where 6 are usual"
        + (f", which {' or '.join(said)} would explain" if said else ""),
        remedy=f"{remedy}; if the columns are right as they are, {sure}",
    )


def _others(units: Mapping[str, float]) -> float:
    """What N·D is multiplied by under `units`."""
    return units.get("num_params", 1.0) * units.get("num_tokens", 1.0)


def _is_usual(ratio: float) -> bool:
    """Whether FLOPs per parameter and token are one of the usual numbers, to two percent."""
    return any(abs(np.log(ratio / usual)) < 0.02 for usual in (2, 3, 6, 8))


def _conventions(N: np.ndarray, D: np.ndarray, C: np.ndarray) -> Diagnostic | None:
    """FLOPs that are counted in one way in some runs and in another in others.

    What a model's own attention or embeddings add differs from size to size; the same factor at several sizes, and then
    another at several others, is a convention.
    """
    logs = np.log(C / N / D)
    order = np.argsort(logs, kind="stable")
    groups = np.split(order, np.flatnonzero(np.diff(logs[order]) > APART) + 1)
    tight = [group for group in groups if np.ptp(logs[group]) < TIGHT and len(np.unique(N[group])) >= SIZES]
    if len(tight) < 2 or sum(map(len, tight)) < MOSTLY * len(N):
        return None
    named = ", ".join(f"{np.exp(np.median(logs[group])):.3g}·N·D in {len(group)}" for group in tight)
    return Diagnostic(
        code="flops_conventions",
        severity="error" if logs[order[-1]] - logs[order[0]] > np.log(1.5) else "warning",
        message=f"FLOPs are counted in {len(tight)} ways: {named} of {len(N)} runs",
        remedy="count them alike in the column flops, or leave it out for 6·N·D",
    )


def _tokens_per_param(N: np.ndarray, D: np.ndarray) -> Diagnostic | None:
    ratio = float(np.median(D / N))
    low, high = TOKENS_PER_PARAM
    if low <= ratio <= high:
        return None
    swapped = low <= 1 / ratio <= high
    hint = (
        "num_params and num_tokens look swapped" if swapped else "one of them may be in thousands, millions or billions"
    )
    give = "--columns num_params=num_tokens,num_tokens=num_params" if swapped else typed({"num_params": 1e6})
    return Diagnostic(
        code="units",
        severity="warning",
        message=f"the runs have {ratio:.3g} tokens per parameter at the median, which no usual study has: {hint}",
        remedy=f"if so, give {give}; if they are right, {typed({'num_params': 1, 'num_tokens': 1})}",
    )


def _small(N: np.ndarray, D: np.ndarray, confirmed: Collection[str]) -> Diagnostic | None:
    most = {"num_params": (float(N.max()), LEAST_PARAMS), "num_tokens": (float(D.max()), LEAST_TOKENS)}
    small = {name: top for name, (top, least) in most.items() if top < least and name not in confirmed}
    if not small:
        return None
    named = " and ".join(f"{name} goes up to {format_count(top)}" for name, top in small.items())
    return Diagnostic(
        code="units",
        severity="warning",
        message=f"{named}, and no FLOPs say whether these are plain counts or thousands or millions",
        remedy=f"give {typed(dict.fromkeys(small, 1e6))} for millions, 1 instead for plain counts; or a column flops",
    )


def _large_loss(loss: np.ndarray) -> Diagnostic | None:
    middle = float(np.median(loss))
    if middle <= MOST_NATS:
        return None
    return Diagnostic(
        code="loss_kind",
        severity="warning",
        message=f"losses are {middle:.3g} at the median, more than any loss in nats per token: perplexities?",
        remedy=f"if so, give their logarithm; if they are a loss, {typed({'loss': 1})}",
    )


def _rising_loss(C: np.ndarray, loss: np.ndarray) -> Diagnostic | None:
    if len(loss) < 5 or np.ptp(C) == 0 or np.ptp(loss) == 0:
        return None
    ranks = pd.DataFrame({"C": C, "loss": loss}).rank().to_numpy().T
    rises = float(np.corrcoef(ranks)[0, 1])
    if rises < RISES:
        return None
    return Diagnostic(
        code="loss_kind",
        severity="error",
        message=f"what is called loss rises with compute (rank correlation {rises:.2f}): an accuracy, or a reward?",
        remedy="give a loss, which falls: 1 - accuracy, a negative log-likelihood, a reward with its sign changed",
    )
