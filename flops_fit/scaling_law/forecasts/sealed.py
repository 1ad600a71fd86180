"""SealedForecast: what a law said of budgets beyond its runs, when, from which data, and a hash of it all."""

from __future__ import annotations

import itertools
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Self

from flops_fit.basics.arguments import TEXT, Rule, check_fields, number, whole
from flops_fit.basics.files import read_value, write_value
from flops_fit.basics.formatting import format_flops
from flops_fit.basics.from_json import from_json
from flops_fit.errors import FileError, FitError
from flops_fit.identity.fingerprints import content_hash

FORECAST_SCHEMA = "flops_fit.forecast/1"
BEYOND = 1.1  # times the largest compute of the runs is where forecasts begin
KEEP_IT = "a forecast that was changed is none: restore it from a copy, or move it away"
FEWEST_POINTS = 4  # of a curve, for a cubic
_POSITIVE = number(above=0)


def _is_utc(text: Any) -> bool:
    try:
        return datetime.fromisoformat(text).utcoffset() == timedelta(0)
    except (TypeError, ValueError):
        return False


_RULES = {
    "made": Rule(_is_utc, "a time in UTC, such as 2026-01-31T12:00:00+00:00"),
    "level": number(above=0, below=1),
    "runs": whole(),
    "largest_compute": _POSITIVE,
    **dict.fromkeys(("data_version", "law_version", "version"), TEXT),
}


@dataclass(frozen=True, kw_only=True)
class Answer:
    """A quantity with its interval, all its error together."""

    value: float
    low: float
    high: float

    def __post_init__(self) -> None:
        check_fields(self, dict.fromkeys(("value", "low", "high"), _POSITIVE), FitError)
        if self.low > self.high:
            raise FitError(f"low = {self.low!r} must be at most high = {self.high!r}")

    def times(self, factor: float) -> Answer:
        """All three times `factor`."""
        return Answer(value=self.value * factor, low=self.low * factor, high=self.high * factor)

    def holds(self, found: float, rounding: float = 1e-9) -> bool:
        """Whether `found` is inside; relative differences up to `rounding` are none."""
        return self.low * (1 - rounding) <= found <= self.high * (1 + rounding)


@dataclass(frozen=True, kw_only=True)
class CurvePoint:
    """One size on a target's budget: N, D, where the loss of a run there would fall, and `d ln loss / d ln D`."""

    N: float
    D: float
    new_run: Answer
    slope: float

    def __post_init__(self) -> None:
        check_fields(self, {"N": _POSITIVE, "D": _POSITIVE, "slope": number()}, FitError)


@dataclass(frozen=True, kw_only=True)
class Target:
    """What a law says of one compute budget.

    Attributes:
        compute: FLOPs.
        N_opt, D_opt, L_opt: parameters, tokens and loss (nats) at the compute optimum.
        verdicts: "trustworthy", "provisional" or "not supported" of "N_opt", "D_opt" and "loss".
        exponent: local exponent of N_opt in C.
        curve: sizes on the budget, ascending, the one in the middle at N_opt.
    """

    compute: float
    N_opt: Answer
    D_opt: Answer
    L_opt: Answer
    verdicts: Mapping[str, str]
    exponent: float
    curve: tuple[CurvePoint, ...]

    def __post_init__(self) -> None:
        check_fields(self, {"compute": _POSITIVE, "exponent": number()}, FitError)
        sizes = [point.N for point in self.curve]
        if len(sizes) < FEWEST_POINTS or any(a >= b for a, b in itertools.pairwise(sizes)):
            raise FitError(f"curve has N = {sizes}; these must be at least {FEWEST_POINTS}, ascending")

    @property
    def at_optimum(self) -> CurvePoint:
        """The size at N_opt: `new_run` is where one run there would fall."""
        return self.curve[len(self.curve) // 2]


@dataclass(frozen=True, kw_only=True)
class SealedForecast:
    """Predictions of budgets beyond the runs of a law, with what they were made from.

    Attributes:
        made: when, in UTC (ISO 8601).
        level: of every interval.
        targets: ascending in compute.
        runs: how many the law was fitted to; `largest_compute` of them and of their budgets, FLOPs.
        data_version: hash of these runs; law_version: of the law, the data version of `scaling_law` in Dagster.
        witnesses: hashes of single runs, by which they are found again in a table.
        version: of flops_fit.
    """

    made: str
    level: float
    targets: tuple[Target, ...]
    runs: int
    largest_compute: float
    data_version: str
    law_version: str
    witnesses: tuple[str, ...]
    version: str

    def __post_init__(self) -> None:
        check_fields(self, _RULES, FitError)
        computes = [target.compute for target in self.targets]
        if not computes or any(a >= b for a, b in itertools.pairwise(computes)):
            raise FitError(f"targets of {computes} FLOPs must be one or more, ascending")
        if computes[0] < BEYOND * self.largest_compute:
            least = format_flops(1.01 * BEYOND * self.largest_compute)  # not rounded down
            raise FitError(
                f"a target of {format_flops(computes[0])} FLOPs is not beyond the runs, which reach "
                f"{format_flops(self.largest_compute)}: what has been seen is no forecast; give targets of at least "
                f"{least} FLOPs"
            )

    @property
    def sha256(self) -> str:
        """The seal, 64 hex digits: of all else, as canonical JSON."""
        return content_hash({"schema": FORECAST_SCHEMA} | self.to_dict())

    @property
    def file_name(self) -> str:
        """Day and seal: a name that no other forecast has."""
        return f"{self.made[:10]}-{self.sha256[:12]}.json"

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the forecast with its seal, atomically; raises `FileError` where anything else is there already."""
        path = Path(path)
        if not path.exists():
            return write_value(path, {"schema": FORECAST_SCHEMA} | self.to_dict())
        try:
            same = type(self).load(path) == self
        except FileError:
            same = False
        if not same:
            raise FileError(f"{path} exists already, and a forecast is never overwritten; give another name")
        return path

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Read what `save` wrote; raises `FileError` for a torn or foreign file, and for one changed since."""
        return read_value(path, FORECAST_SCHEMA, lambda content: from_json(cls, content, without=["schema"]), KEEP_IT)

    def __repr__(self) -> str:
        targets = ", ".join(format_flops(target.compute) for target in self.targets)
        return f"{type(self).__name__}({self.made[:10]}, {targets} FLOPs, sha256={self.sha256[:12]}…)"
