"""A metric as a falling sigmoid of the loss, fitted by least squares."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.optimize import least_squares

FREE = 4  # floor, ceiling, slope, midpoint
_SLOPES = np.geomspace(0.3, 60.0, 12)  # times 1 / the range of losses; where the search begins,
_MIDPOINTS = np.linspace(-1.0, 2.0, 25)  # in ranges of losses above the lowest
_STARTS = 4  # of the best of these that are refined
_STEEPEST, _FLATTEST, _FURTHEST = 300.0, 0.02, 3.0


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Where floor and ceiling may lie; both ends of a pair are the same where it is known."""

    floor: tuple[float, float]
    ceiling: tuple[float, float]

    @property
    def free(self) -> int:
        """How many parameters are fitted."""
        return FREE - sum(low == high for low, high in (self.floor, self.ceiling))


def sigmoid(parameters: np.ndarray, loss: Any) -> np.ndarray:
    """`floor + (ceiling - floor) / (1 + exp(slope·(loss - midpoint)))` of `parameters`, (..., 4), in this order."""
    floor, ceiling, slope, midpoint = np.moveaxis(np.asarray(parameters, dtype=float), -1, 0)
    high = 0.5 * (1 - np.tanh(0.5 * slope * (np.asarray(loss, dtype=float) - midpoint)))
    return floor + (ceiling - floor) * high


def limits_of(values: np.ndarray, floor: float | None, ceiling: float | None) -> Limits:
    """As given; else between the values and 0 or 1 where all lie there, and as far again beyond them otherwise."""
    least, most = float(values.min()), float(values.max())
    low, high = (0.0, 1.0) if least >= 0 and most <= 1 else (2 * least - most, 2 * most - least)
    return Limits(
        floor=(low, most) if floor is None else (floor, floor),
        ceiling=(least, high) if ceiling is None else (ceiling, ceiling),
    )


def fit_sigmoid(loss: np.ndarray, value: np.ndarray, limits: Limits) -> np.ndarray:
    """(floor, ceiling, slope, midpoint) of least squares; `loss` and `value` have shape (runs,)."""
    least, span = float(loss.min()), float(np.ptp(loss))
    slopes, midpoints = np.meshgrid(_SLOPES / span, least + _MIDPOINTS * span, indexing="ij")
    starts = [_with_ends(slope, midpoint, loss, value, limits) for slope, midpoint in
              zip(slopes.ravel(), midpoints.ravel(), strict=True)]  # fmt: skip
    errors = np.array([((sigmoid(start, loss) - value) ** 2).sum() for start in starts])
    refined = [refit_sigmoid(starts[at], loss, value, limits) for at in np.argsort(errors)[:_STARTS]]
    return min(refined, key=lambda found: float(((sigmoid(found, loss) - value) ** 2).sum()))


def refit_sigmoid(start: np.ndarray, loss: np.ndarray, value: np.ndarray, limits: Limits) -> np.ndarray:
    """The minimum of least squares near `start`."""
    least, span = float(loss.min()), float(np.ptp(loss))
    lower = np.array([limits.floor[0], limits.ceiling[0], np.log(_FLATTEST / span), least - _FURTHEST * span])
    upper = np.array([limits.floor[1], limits.ceiling[1], np.log(_STEEPEST / span), least + (1 + _FURTHEST) * span])
    free = upper > lower
    at = np.array([start[0], start[1], np.log(start[2]), start[3]])

    def whole(inner: np.ndarray) -> np.ndarray:
        theta = at.copy()
        theta[free] = inner
        theta[2] = np.exp(theta[2])
        return theta

    def residual(inner: np.ndarray) -> np.ndarray:
        return sigmoid(whole(inner), loss) - value

    def jacobian(inner: np.ndarray) -> np.ndarray:
        floor, ceiling, slope, midpoint = whole(inner)
        high = sigmoid(np.array([0.0, 1.0, slope, midpoint]), loss)
        steep = -(ceiling - floor) * high * (1 - high) * slope
        return np.stack([1 - high, high, steep * (loss - midpoint), -steep], axis=1)[:, free]

    begin = np.clip(at[free], lower[free], upper[free])
    found = least_squares(residual, begin, jacobian, bounds=(lower[free], upper[free]), x_scale="jac", max_nfev=200)
    return whole(found.x)


def _with_ends(slope: float, midpoint: float, loss: np.ndarray, value: np.ndarray, limits: Limits) -> np.ndarray:
    """The parameters with the floor and ceiling that fit best, within their limits."""
    high = sigmoid(np.array([0.0, 1.0, slope, midpoint]), loss)
    known_floor, known_ceiling = (low == up for low, up in (limits.floor, limits.ceiling))
    floor, ceiling = limits.floor[0], limits.ceiling[1]
    if not known_floor and not known_ceiling:
        floor, ceiling = np.linalg.lstsq(np.stack([1 - high, high], axis=1), value, rcond=None)[0]
    elif known_ceiling and not known_floor:
        floor = _share(value - ceiling * high, 1 - high)
    elif known_floor and not known_ceiling:
        ceiling = _share(value - floor * (1 - high), high)
    return np.array([np.clip(floor, *limits.floor), np.clip(ceiling, *limits.ceiling), slope, midpoint])


def _share(value: np.ndarray, of: np.ndarray) -> float:
    return float((value * of).sum() / max(float((of**2).sum()), 1e-12))
