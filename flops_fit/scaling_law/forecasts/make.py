"""From a fitted law to a forecast: every answer at every target, with what is needed to score it later."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime

import numpy as np

from flops_fit.errors import FitError
from flops_fit.identity.fingerprints import content_hash, package_version
from flops_fit.scaling_law.fitted import FittedLaw
from flops_fit.scaling_law.forecasts.forecast import Forecast
from flops_fit.scaling_law.forecasts.sealed import Answer, CurvePoint, Target
from flops_fit.scaling_law.forecasts.witnesses import witnesses_of
from flops_fit.scaling_law.prediction_table import budgets_to_show
from flops_fit.scaling_law.quantities import checked_compute

CURVE = 8.0 ** np.linspace(-1, 1, 9)  # sizes around N_opt for which a run's loss is forecast
STEP = 0.05  # of ln D, for the slope of ln loss


def forecast_of(law: FittedLaw, targets: Iterable[float | str] | float | str, *, level: float = 0.9) -> Forecast:
    """What `law` says of each of `targets` (FLOPs), with intervals at `level`.

    Raises `FitError` for no targets, for one that is not at least 1.1 times beyond the runs (what has been seen is no
    forecast) or so far beyond them that an interval is not finite, and for a law that the runs do not determine.
    """
    given = list(targets) if isinstance(targets, Iterable) and not isinstance(targets, str) else [targets]
    computes = budgets_to_show((), checked_compute(given))
    if not computes:
        raise FitError("no targets: give one or more compute budgets, for example 1e21")
    if not law.determined:
        raise FitError("the runs do not determine the law, so it forecasts nothing; its summary says what to train")
    return Forecast(
        made=datetime.now(UTC).isoformat(timespec="seconds"),
        level=level,
        targets=tuple(_target(law, compute, level) for compute in computes),
        runs=len(law.runs),
        largest_compute=float(max([law.runs.flops.max(), *law.runs.budgets])),
        data_version=content_hash(law.runs.to_dict()),
        law_version=content_hash(law.to_dict()),
        witnesses=witnesses_of(law.runs),
        version=package_version("flops-fit") or "not installed",
    )


def _target(law: FittedLaw, compute: float, level: float) -> Target:
    sizes = law.N_opt(compute) * CURVE
    return Target(
        compute=compute,
        N_opt=_answer(law.N_opt(compute), law.interval("N_opt", compute, level=level), compute),
        D_opt=_answer(law.D_opt(compute), law.interval("D_opt", compute, level=level), compute),
        L_opt=_answer(law.L_opt(compute), law.interval("L_opt", compute, level=level), compute),
        verdicts={name: law.verdict_at(compute, name) for name in ("N_opt", "D_opt", "loss")},
        exponent=law.a_at(compute),
        curve=tuple(_point(law, compute, N, level) for N in sizes.tolist()),
    )


def _point(law: FittedLaw, compute: float, N: float, level: float) -> CurvePoint:
    D = compute / float(law.flops_per_token(N))
    more, less = (law.loss(N, D * np.exp(step)) for step in (STEP, -STEP))
    band = law.interval("new_run", num_params=N, num_tokens=D, level=level)
    return CurvePoint(
        N=N, D=D, new_run=_answer(law.loss(N, D), band, compute), slope=float(np.log(more / less) / (2 * STEP))
    )


def _answer(value: float, interval: tuple[float, float], compute: float) -> Answer:
    low, high = interval
    if not (low > 0 and np.isfinite(high)):
        raise FitError(
            f"at {compute:g} FLOPs an interval is {low:.3g} to {high:.3g}, which says nothing; give a smaller target"
        )
    return Answer(value=float(value), low=low, high=high)
