"""Parameters that are known: E, A, B, alpha and beta held at a value or to a range, as limits of theta."""

from __future__ import annotations

import numbers
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from flops_fit.errors import FitError
from flops_fit.scaling_law.fitting.objective import LOWER, MAX_EXPONENT, MIN_EXPONENT, PARAMETERS, UPPER, Centred

Held = Mapping[str, tuple[float, float]]  # (low, high) by name; equal where a value is held
FREE: Held = {}


def checked(fix: Mapping[str, Any] | None, lowest_loss: float) -> Held:
    """`fix` as ranges: a number is both ends of its own.

    Raises `FitError` for unknown names, values that are no number, negative or (exponents) outside of what a fit tries,
    reversed ranges, and an E that is not below `lowest_loss`.
    """
    if fix is not None and not isinstance(fix, Mapping):
        raise FitError(f'fix = {fix!r} must be a mapping, such as {{"E": 1.69}} or {{"E": (1.5, 1.8)}}')
    held = {name: _range(name, value) for name, value in (fix or {}).items()}
    if "E" in held and held["E"][0] >= lowest_loss:
        raise FitError(
            f"fix: E = {held['E'][0]:g} is not below the lowest loss of the runs, {lowest_loss:g}, which it must be; "
            "give a lower E, or none"
        )
    return held


def _range(name: str, value: Any) -> tuple[float, float]:
    if name not in PARAMETERS:
        raise FitError(f"fix names {name!r}, which is no parameter of the law; give {', '.join(PARAMETERS)}")
    pair = value if isinstance(value, Sequence | np.ndarray) and not isinstance(value, str) else (value, value)
    least, most = (MIN_EXPONENT, MAX_EXPONENT) if name in ("alpha", "beta") else (0.0, 1e100)
    if len(pair) != 2 or not all(isinstance(end, numbers.Real) and not isinstance(end, bool) for end in pair):
        raise FitError(f"fix: {name} = {value!r} must be a number, or a range of two such as (0.3, 0.4)")
    low, high = float(pair[0]), float(pair[1])
    above = low > 0 or name == "E"
    if not (np.isfinite(low) and np.isfinite(high) and least <= low and above and high <= most):
        first = f"at least {least:g}" if name in ("E", "alpha", "beta") else f"above {least:g}"
        raise FitError(
            f"fix: {name} = {value!r} must be {first} and at most {most:g}; correct it, or leave {name} free"
        )
    if low > high:
        raise FitError(f"fix: {name} = {value!r} is a range from high to low; give ({high:g}, {low:g})")
    return low, high


def from_text(items: Iterable[str]) -> dict[str, float | tuple[float, float]]:
    """`E=1.69` and `alpha=0.3:0.4` as a mapping for `checked`; raises `FitError` for other text."""
    fix: dict[str, float | tuple[float, float]] = {}
    for item in items:
        name, _, values = item.partition("=")
        try:
            ends = [float(value) for value in values.split(":")]
        except ValueError:
            ends = []
        if len(ends) not in (1, 2):
            raise FitError(f"--fix {item!r} must be a value such as E=1.69, or a range such as alpha=0.3:0.4")
        if name.strip() in fix:
            raise FitError(f"--fix {item!r} gives {name.strip()} a second time; give each parameter once")
        fix[name.strip()] = ends[0] if len(ends) == 1 else (ends[0], ends[1])
    return fix


def described(fix: Mapping[str, Any]) -> str:
    """What is held, in words."""
    each = {name: _range(name, value) for name, value in fix.items()}
    parts = [
        f"{name} = {low:g}" if low == high else f"{name} in {low:g} to {high:g}" for name, (low, high) in each.items()
    ]
    return ", ".join(parts)


def limits(held: Held) -> tuple[np.ndarray, np.ndarray]:
    """The lowest and the highest theta, (5,) each. A and B that are held are those of N and D themselves, so that
    `objective.centre` must not centre ln N or ln D then."""
    lower, upper = LOWER.copy(), UPPER.copy()
    for name, (low, high) in held.items():
        at = PARAMETERS.index(name)
        ends = np.array([low, high]) if at >= 3 else np.log(np.maximum([low, high], np.exp(LOWER[0])))
        lower[at], upper[at] = ends
    return lower, upper


def at_end(theta: np.ndarray, data: Centred) -> tuple[str, ...]:
    """Names of parameters at an end of the range that they are held to, not of those held at a value."""
    ranged = data.free & ((data.lower != LOWER) | (data.upper != UPPER))
    reached = ranged & ((theta <= data.lower + 1e-9) | (theta >= data.upper - 1e-9))
    return tuple(name for name, at in zip(PARAMETERS, reached, strict=True) if at)
