"""Do parameters, tokens and FLOPs look like what they are called? What FLOPs/(N·D) and D/N say.

FLOPs per parameter and token are 6 (forward and backward), 2 (forward alone), 3 (multiplications and additions as one)
or 8 (with recomputation), more for attention over long contexts and much more where a parameter is used many times
(convolutions). Tokens per parameter lie between one and some thousands in any published study.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Mapping

import numpy as np
import pandas as pd

from flops_fit.basics.diagnostic import Diagnostic
from flops_fit.basics.formatting import format_count
from flops_fit.tables.unit_words import PF_DAY

FLOPS_RATIOS = (0.05, 3e4)  # of FLOPs to N·D, that models may have
USUAL_RATIOS = (1.0, 60.0)  # that a unit has to explain them by
USUAL = (2, 3, 6, 8)
TOKENS_PER_PARAM = (0.3, 500.0)
CONFIRMED = 60.0  # times that, where FLOPs say that N and D are right
LEAST_PARAMS, LEAST_TOKENS = 1e5, 1e6  # the largest of a table without FLOPs: below, they may be thousands or millions
MOST_PARAMS, MOST_TOKENS = 1e14, 1e16  # of any run; beyond, a heading's unit was applied to plain counts
JUMP = 300.0  # from one size to the next, or one number of tokens: then some rows may be in another unit
TIGHT = 0.005  # of ln FLOPs/(N·D), within which it is the same number in all runs
FAR_OFF, ALIKE = 1.5, 1.0  # of ln FLOPs/(N·D) from the median: rows that are wrong, and the most that others differ by
FEW_RUNS, A_FEW = 8, 0.1  # the least of runs to tell by, and the largest share that may be wrong
_COUNTS = (1.0, 1e3, 1e6, 1e9)
_FLOPS = (1.0, 1e9, 1e12, 1e15, 1e18, PF_DAY, 1e21)
AS_POWERS_OF_TEN = (10 ** float(np.log(6)), 10 ** float(np.log(8)))  # FLOPs/(N·D) of natural logarithms read as log10
_LOGARITHMS = {"log10": 10.0, "ln": float(np.e)}
_NAMES = ("num_params", "num_tokens", "flops")
_TOGETHER = (("num_params",), ("num_tokens",), ("flops",), _NAMES[:2], _NAMES)  # columns that logarithms are taken of
_LEAST_POWERS = (1e4, 1e5, 1e10)  # N, D and C that logarithms must come to
Units = dict[str, "float | str"]


def unit_doubts(
    N: np.ndarray, D: np.ndarray, C: np.ndarray, *, confirmed: Collection[str], derived: bool, mixed: bool = False
) -> tuple[Diagnostic, ...]:
    """Findings about the units of runs, arrays of shape (runs,).

    `confirmed` are columns whose units were given, of which nothing is said; `derived`: FLOPs or tokens follow from the
    others, so that they confirm nothing; `mixed`: FLOPs are counted in several ways, of which something is said
    already.
    """
    counts = {"num_params", "num_tokens"} & {*confirmed}
    known = derived or mixed or (len(counts) == 2 and "flops" in confirmed)
    ratio = None if known else _ratio(N, D, C, confirmed)
    small = _small(N, D, confirmed) if derived and len(counts) < 2 else None
    huge = _huge(N, D, confirmed) if ratio is None else None
    found = [
        ratio,
        small,
        huge,
        _tokens_per_param(N, D, C, derived) if not (ratio or small or huge or counts) else None,
        _jump(N, D, confirmed),
    ]
    return tuple(filter(None, found))


def outlying_flops(table: pd.DataFrame) -> dict[int, float]:
    """Row → its FLOPs/(N·D) over the median, of a few rows that are far off where all others are alike."""
    if len(table) < FEW_RUNS:
        return {}
    N, D, C = (table[name].to_numpy(dtype=float) for name in _NAMES)
    logs = np.log(C / N / D) - np.median(np.log(C / N / D))
    off = np.abs(logs) > FAR_OFF
    alike = not off.all() and np.ptp(logs[~off]) < ALIKE
    if not alike or off.mean() > A_FEW:
        return {}
    rows = table.index.to_numpy()
    return {int(rows[at]): float(np.exp(logs[at])) for at in np.flatnonzero(off)}


def explained(N: float, D: float, C: float, confirmed: Collection[str] = ()) -> list[Units]:
    """Units, by column, under which FLOPs and tokens per parameter are usual: as few as explain them, those first that
    give a usual number of FLOPs per parameter and token exactly."""
    free = [name for name in _NAMES if name not in confirmed]
    for changed in range(1, len(free) + 1):
        units: list[Units] = [dict.fromkeys(names, scale) for names in _TOGETHER for scale in _LOGARITHMS]
        for each in itertools.product(_COUNTS, _COUNTS, _FLOPS):
            units.append({name: factor for name, factor in zip(_NAMES, each, strict=True) if factor != 1})
        fits = [u for u in units if len(u) == changed and set(u) <= {*free} and _fits(N, D, C, u)]
        exact = [u for u in fits if _is_usual(_ratio_under(N, D, C, u))]
        if fits:
            return (exact or fits)[:3]
    return []


def _under(value: float, unit: float | str) -> float:
    """`value` in a unit; of logarithms their power, infinite where that is no number."""
    if isinstance(unit, str):
        return _LOGARITHMS[unit] ** value if 0 < value < 300 else np.inf
    return value * unit


def _scaled(N: float, D: float, C: float, units: Mapping[str, float | str]) -> tuple[float, float, float]:
    n, d, c = (_under(x, units.get(name, 1.0)) for x, name in zip((N, D, C), _NAMES, strict=True))
    return n, d, c


def _ratio_under(N: float, D: float, C: float, units: Mapping[str, float | str]) -> float:
    n, d, c = _scaled(N, D, C, units)
    return c / n / d


def _fits(N: float, D: float, C: float, units: Mapping[str, float | str]) -> bool:
    n, d, c = _scaled(N, D, C, units)
    low, high = USUAL_RATIOS
    if _has_logarithm(units):
        low, high = 0.05, 600.0  # the median of a power is not the power of the median, quite
        if any(x < least for x, least in zip((n, d, c), _LEAST_POWERS, strict=True)):
            return False
    finite = np.isfinite([n, d, c]).all() and n > 0 and d > 0
    return bool(finite and low <= c / n / d <= high and TOKENS_PER_PARAM[0] <= d / n <= TOKENS_PER_PARAM[1])


def typed(units: Mapping[str, float | str]) -> str:
    """How units are given, on the command line and in Python."""
    line = ",".join(f"{name}={_shown(factor)}" for name, factor in units.items())
    code = ", ".join(f'"{name}": {_shown(factor, quoted=True)}' for name, factor in units.items())
    return f"--units {line}, in Python units={{{code}}}"


def _shown(factor: float | str, *, quoted: bool = False) -> str:
    return (f'"{factor}"' if quoted else factor) if isinstance(factor, str) else f"{factor:g}"


def _ratio(N: np.ndarray, D: np.ndarray, C: np.ndarray, confirmed: Collection[str]) -> Diagnostic | None:
    """FLOPs/(N·D) that no model has, or that is a usual number times a thousand, a million, ... in all runs."""
    ratios = C / N / D
    ratio = float(np.median(ratios))
    same = float(np.ptp(np.log(ratios))) < TIGHT
    if same and any(abs(np.log(ratio / other)) < TIGHT for other in AS_POWERS_OF_TEN):
        return _natural_logarithms(ratio)
    if not (FLOPS_RATIOS[0] <= ratio <= FLOPS_RATIOS[1]) or (
        same and any(_is_usual(ratio / factor) for factor in (*_COUNTS[1:], *(1 / x for x in _COUNTS[1:])))
    ):
        severity = "error"
    elif same and any(abs(np.log(ratio / usual)) < TIGHT for usual in (2, 3)) and "flops" not in confirmed:
        return _forward_alone(ratio)
    else:
        return None
    fits = explained(float(np.median(N)), float(np.median(D)), float(np.median(C)), confirmed)
    said = [" and ".join(f"{name} in units of {_shown(x)}" for name, x in units.items()) for units in fits]
    exact = any(_is_usual(_ratio_under(1.0, 1.0, ratio, units)) for units in fits if not _has_logarithm(units))
    steps = ratio / 6  # tokens in each, if num_tokens counts steps
    if not exact and steps > 1:
        fits.append({"num_tokens": float(f"{steps:.3g}")})
        said.append(f"num_tokens that count steps of {format_count(steps)} tokens")
    remedy = f"if so, give {' or '.join(typed(units) for units in fits)}" if fits else "correct the columns"
    sure = typed({"num_params": 1, "num_tokens": 1, "flops": 1})
    return Diagnostic(
        code="units",
        severity="error" if severity == "error" else "warning",
        message=f"FLOPs are {ratio:.3g} per parameter and token, where 6 are usual"
        + (f", which {' or '.join(said)} would explain" if said else ""),
        remedy=f"{remedy}; if the columns are right as they are, {sure}",
    )


def _has_logarithm(units: Mapping[str, float | str]) -> bool:
    return any(isinstance(unit, str) for unit in units.values())


def _natural_logarithms(ratio: float) -> Diagnostic:
    """Six FLOPs per parameter and token of `log(N)`, `log(D)` and `log(C)` that are natural, taken for log10."""
    return Diagnostic(
        code="units",
        severity="warning",
        message=f"FLOPs are {ratio:.3g} per parameter and token in all runs, as those of natural logarithms are that "
        "are read as powers of ten",
        remedy=f"if so, give {typed(dict.fromkeys(_NAMES, 'ln'))}; if they are log10, "
        f"{typed(dict.fromkeys(_NAMES, 'log10'))}; if they are no logarithms, {typed(dict.fromkeys(_NAMES, 1))}",
    )


def _forward_alone(ratio: float) -> Diagnostic:
    """Two or three FLOPs per parameter and token in every run: training takes six."""
    what = "the forward pass alone" if ratio < 2.5 else "a multiplication and its addition as one"
    return Diagnostic(
        code="units",
        severity="warning",
        message=f"FLOPs are {ratio:.3g} per parameter and token, which counts {what}: training takes 6",
        remedy=f"for FLOPs of training, give {typed({'flops': float(f'{6 / ratio:.3g}')})}; if all budgets are to be "
        f"counted like this, {typed({'flops': 1})}",
    )


def _is_usual(ratio: float) -> bool:
    """Whether FLOPs per parameter and token are one of the usual numbers, to two percent."""
    return any(abs(np.log(ratio / usual)) < 0.02 for usual in USUAL)


def _tokens_per_param(N: np.ndarray, D: np.ndarray, C: np.ndarray, derived: bool) -> Diagnostic | None:
    ratio = float(np.median(D / N))
    low, high = TOKENS_PER_PARAM
    high *= 1.0 if derived else CONFIRMED
    if low <= ratio <= high:
        return None
    hints, remedies = _what_it_may_be(ratio, float(np.median(C / N / D)), derived)
    return Diagnostic(
        code="units",
        severity="warning",
        message=f"the runs have {ratio:.3g} tokens per parameter at the median, which no usual study has: "
        + ", or ".join(hints),
        remedy=f"if so, give {' or '.join(remedies)}; if they are right, " + typed({"num_params": 1, "num_tokens": 1}),
    )


def _what_it_may_be(ratio: float, per_param_and_token: float, derived: bool) -> tuple[list[str], list[str]]:
    """What explains D/N of `ratio`, in words, and what to type for each."""
    if not derived and per_param_and_token > 10 * USUAL_RATIOS[1]:  # FLOPs say how many tokens each of these is
        tokens = per_param_and_token / 6
        return (
            [f"num_tokens looks like steps or sequences of {format_count(tokens)} tokens"],
            [typed({"num_tokens": float(f"{tokens:.4g}")})],
        )
    low, high = TOKENS_PER_PARAM
    hints, remedies = [], []
    if low <= 1 / ratio <= high:
        hints.append("num_params and num_tokens look swapped")
        remedies.append("--columns num_params=num_tokens,num_tokens=num_params")
    name = "num_tokens" if ratio < low else "num_params"
    scales = [x for x in _COUNTS[1:] if low <= (ratio * x if ratio < low else ratio / x) <= high]
    if scales:
        counts = ", or counts steps or sequences" if name == "num_tokens" else ""
        hints.append(f"{name} looks like thousands, millions or billions{counts}")
        remedies += [typed({name: x}) for x in scales]
    return hints or ["one of them may be in thousands, millions or billions"], remedies or [typed({name: 1e6})]


def _jump(N: np.ndarray, D: np.ndarray, confirmed: Collection[str]) -> Diagnostic | None:
    """A gap between the sizes, or the numbers of tokens, of some runs and of others."""
    for name, values in (("num_params", N), ("num_tokens", D)):
        distinct = np.unique(values)
        if name in confirmed or len(distinct) < 2:
            continue
        steps = distinct[1:] / distinct[:-1]
        at = int(np.argmax(steps))
        if steps[at] >= JUMP:
            below = int((values <= distinct[at]).sum())
            return Diagnostic(
                code="units",
                severity="error",
                message=f"{name} jumps from {format_count(distinct[at])} ({below} of {len(values)} runs are no larger) "
                f"to {format_count(distinct[at + 1])}: some rows look to be in another unit",
                remedy=f"write {name} alike in all rows; if they are right, {typed({name: 1})}",
            )
    return None


def _small(N: np.ndarray, D: np.ndarray, confirmed: Collection[str]) -> Diagnostic | None:
    most = {"num_params": (float(N.max()), LEAST_PARAMS), "num_tokens": (float(D.max()), LEAST_TOKENS)}
    small = {name: top for name, (top, least) in most.items() if top < least and name not in confirmed}
    if not small:
        return None
    named = " and ".join(f"{name} goes up to {format_count(top)}" for name, top in small.items())
    steps = ", or steps" if "num_tokens" in small else ""
    return Diagnostic(
        code="units",
        severity="warning",
        message=f"{named}, and no FLOPs say whether these are plain counts or thousands or millions{steps}",
        remedy=f"give {typed(dict.fromkeys(small, 1e6))} for millions, 1 instead for plain counts; or a column flops",
    )


def _huge(N: np.ndarray, D: np.ndarray, confirmed: Collection[str]) -> Diagnostic | None:
    most = {"num_params": (float(N.max()), MOST_PARAMS), "num_tokens": (float(D.max()), MOST_TOKENS)}
    huge = {name: top for name, (top, limit) in most.items() if top > limit and name not in confirmed}
    if not huge:
        return None
    named = " and ".join(f"{name} goes up to {top:.3g}" for name, top in huge.items())
    limits = " and ".join(f"{most[name][1]:g} {name.removeprefix('num_')}" for name in huge)
    return Diagnostic(
        code="units",
        severity="warning",
        message=f"{named}, where no run has more than {limits}: plain counts under a heading that says millions or "
        "billions, or natural logarithms read as powers of ten",
        remedy=f"for the numbers as they are written, give {typed(dict.fromkeys(huge, 1))}; for natural logarithms, "
        f"{typed(dict.fromkeys(huge, 'ln'))}; if they are right, the heading's factor, such as "
        f"{typed(dict.fromkeys(huge, 1e6))}",
    )
