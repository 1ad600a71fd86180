"""A study's forecasts as files of one folder: kept once each, never overwritten, read again whatever became of one."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from flops_fit.errors import FileError
from flops_fit.scaling_law.forecasts.calibration import Calibration, calibrate
from flops_fit.scaling_law.forecasts.forecast import Forecast, usable_runs

SAME = 1e-9  # of ln C


@dataclass(frozen=True, kw_only=True)
class Held:
    """The forecasts of a folder by their files, and those that cannot be used with the reason."""

    forecasts: Mapping[Path, Forecast] = field(default_factory=dict)
    problems: tuple[str, ...] = ()


def load_forecasts(folder: str | os.PathLike[str]) -> Held:
    """Every `*.json` in `folder`; one that is torn, was changed or is something else is among the problems."""
    folder = Path(folder)
    if folder.exists() and not folder.is_dir():
        return Held(problems=(f"{folder} is not a folder; move what is there away",))
    found: dict[Path, Forecast] = {}
    problems = []
    for path in sorted(folder.glob("*.json")):
        try:
            found[path] = Forecast.load(path)
        except FileError as error:
            problems.append(str(error))
        except OSError as error:  # a file that may not be read, a link that leads nowhere
            problems.append(f"{path} cannot be read ({error.strerror}); see to it, or move it away")
    return Held(forecasts=found, problems=tuple(problems))


def keep(forecast: Forecast, folder: str | os.PathLike[str]) -> tuple[Path | None, dict[float, Path]]:
    """Write those targets of `forecast` that the same law has not forecast at this level before.

    Returns the new file, None where nothing is new, and the files that hold the others.
    """
    before: dict[float, Path] = {}
    for path, held in load_forecasts(folder).forecasts.items():
        if (held.law_version, held.level) == (forecast.law_version, forecast.level):
            before |= {
                target.compute: path
                for target in forecast.targets
                if any(abs(math.log(target.compute / other.compute)) < SAME for other in held.targets)
            }
    new = tuple(target for target in forecast.targets if target.compute not in before)
    if not new:
        return None, before
    sealed = replace(forecast, targets=new)
    return sealed.save(Path(folder) / sealed.file_name), before


def score_forecasts(
    forecasts: str | os.PathLike[str] | Iterable[Forecast], runs: Any, *, units: Mapping[str, float] | None = None
) -> Calibration:
    """How all forecasts of a study came out so far.

    Args:
        forecasts: a folder of them, or the forecasts themselves.
        runs: a table as `fit_scaling_law` takes it with its `units`, or `law.runs`.
    """
    if isinstance(forecasts, str | os.PathLike):
        held = load_forecasts(forecasts)
        forecasts, problems = list(held.forecasts.values()), held.problems
    else:
        problems = ()
    return calibrate(forecasts, usable_runs(runs, units), problems)
