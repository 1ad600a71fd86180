"""How long a FLOP takes by size, from the seconds of runs: what turns a multiple of compute into one of time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from flops_fit.errors import FitError
from flops_fit.scaling_law.comparison.multiplier import Multiplier
from flops_fit.scaling_law.fitted import FittedLaw

COLUMNS = ("num_params", "flops", "seconds", "device")
_NORMAL_90 = 1.645
_SIZES_FOR = {0: 1, 1: 3, 2: 6}  # degree of the polynomial → different sizes that it takes


@dataclass(frozen=True, kw_only=True, eq=False)
class Speed:
    """Seconds per training FLOP on one device: ln(seconds/FLOP) as a polynomial in ln N, by least squares.

    Attributes:
        device: as the runs name it.
        coefficients: highest power first.
        covariance: of the coefficients.
        sizes: the smallest and the largest N that was timed; beyond them a FLOP takes as long as there.
    """

    device: str
    coefficients: np.ndarray
    covariance: np.ndarray
    sizes: tuple[float, float]

    def seconds_per_flop(self, num_params: float) -> float:
        """At N parameters."""
        return float(np.exp(np.polyval(self.coefficients, self._log_size(num_params))))

    def error(self, num_params: float) -> float:
        """Standard error of ln(seconds/FLOP) at N parameters."""
        powers = self._log_size(num_params) ** np.arange(len(self.coefficients) - 1, -1, -1)
        return float(np.sqrt(max(0.0, powers @ self.covariance @ powers)))

    def covers(self, num_params: float) -> bool:
        """Whether such a size lies among those that were timed."""
        return self.sizes[0] <= num_params <= self.sizes[1]

    def _log_size(self, num_params: float) -> float:
        return float(np.log(np.clip(num_params, *self.sizes)))


def speed_of(runs: Any) -> Speed:
    """The speed of a runs table (a DataFrame, or columns by name), of whose rows those that were timed count.

    Columns are num_params, flops, seconds of training and device, as in the `runs.csv` of a study. Raises `FitError`
    where they are not there, where no row was timed, and where rows are of several devices.
    """
    if not hasattr(runs, "__getitem__") or any(name not in runs for name in COLUMNS):
        lacking = [name for name in COLUMNS if not hasattr(runs, "__getitem__") or name not in runs]
        raise FitError(f"there is no column {', '.join(lacking)}: how long each run trained, and on what")
    params, flops, seconds = (np.asarray(runs[name], dtype=float) for name in COLUMNS[:3])
    with np.errstate(invalid="ignore"):
        timed = (seconds > 0) & (flops > 0) & (params > 0) & np.isfinite(seconds * flops * params)
    if not timed.any():
        raise FitError("no run was timed")
    devices = sorted({str(device) for device in np.asarray(runs["device"])[timed]})
    if len(devices) > 1:
        raise FitError(f"its runs were trained on {' and '.join(devices)}")
    x, y = np.log(params[timed]), np.log(seconds[timed] / flops[timed])
    degree = max(degree for degree, least in _SIZES_FOR.items() if len(np.unique(x)) >= least)
    powers = np.vander(x, degree + 1)
    found, *_ = np.linalg.lstsq(powers, y, rcond=None)
    spare = max(1, len(x) - degree - 1)
    variance = float(np.sum((y - powers @ found) ** 2)) / spare
    return Speed(
        device=devices[0],
        coefficients=found,
        covariance=variance * np.linalg.pinv(powers.T @ powers),
        sizes=(float(params[timed].min()), float(params[timed].max())),
    )


def speeds_of(timed: Mapping[str, Any] | None, names: tuple[str, ...]) -> tuple[dict[str, Speed], str]:
    """The speed of each of `names`, all on one device, from their runs; else none of them, and why not."""
    if timed is None:
        return {}, "laws alone hold no seconds; give study files, or tables with the columns seconds, flops and device"
    found: dict[str, Speed] = {}
    for name in names:
        try:
            found[name] = speed_of(timed.get(name, {}))
        except FitError as error:
            return {}, f"of the runs of {name} {error}"
    devices = {speed.device: name for name, speed in found.items()}
    if len(devices) > 1:
        return {}, "; ".join(f"{name} was trained on {device}" for device, name in devices.items())
    return found, ""


def time_multiplier(
    compute: float, needed: Multiplier, laws: tuple[FittedLaw, FittedLaw], speeds: tuple[Speed, Speed]
) -> Multiplier:
    """What the second law needs in time to reach the first's loss at C FLOPs, from the `needed` multiple of compute.

    The multiple times the ratio of seconds per FLOP, at each law's own optimal size for its own compute. Errors of the
    timings are added to the interval's in squares, in logarithms.
    """
    if not np.isfinite(needed.value):
        return needed
    there = needed.value * compute
    sizes = float(laws[0].N_opt(compute)), float(laws[1].N_opt(there))
    ratio = speeds[1].seconds_per_flop(sizes[1]) / speeds[0].seconds_per_flop(sizes[0])
    error = _NORMAL_90 * np.hypot(speeds[0].error(sizes[0]), speeds[1].error(sizes[1]))
    with np.errstate(divide="ignore"):
        below, above = (abs(np.log(end / needed.value)) for end in (needed.low, needed.high))
    return Multiplier(
        value=needed.value * ratio,
        low=needed.value * ratio * float(np.exp(-np.hypot(below, error))),
        high=needed.value * ratio * float(np.exp(np.hypot(above, error))),
    )


def beyond_timed(compute: float, laws: Mapping[str, FittedLaw], speeds: Mapping[str, Speed]) -> list[str]:
    """Names of the laws whose optimal size at C FLOPs is none of those that were timed."""
    return [name for name, speed in speeds.items() if not speed.covers(float(laws[name].N_opt(compute)))]
