"""Several tables fitted together: exponents that two recipes share are found from the runs of both."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from flops_fit.basics.diagnostic import Diagnostic
from flops_fit.errors import FitError
from flops_fit.scaling_law.checks.diverged import without_diverged
from flops_fit.scaling_law.checks.holdout import hold_out
from flops_fit.scaling_law.fit import (
    checked_options,
    evidence_of,
    fit_both,
    fit_table,
    flops_per_token_of,
    law_of,
    with_fix,
)
from flops_fit.scaling_law.fitting.held import Held, checked
from flops_fit.scaling_law.fitting.joint import bootstrap_jointly, fit_jointly, sharing_chance, with_shared_held
from flops_fit.scaling_law.fitting.objective import LARGE
from flops_fit.scaling_law.fitting.parametric import ParametricFit
from flops_fit.scaling_law.fitting.weighting import ValleyFit
from flops_fit.scaling_law.flops_per_token import FlopsPerToken
from flops_fit.scaling_law.law import ScalingLaw
from flops_fit.scaling_law.misfit import UNSEEN, Misfit
from flops_fit.scaling_law.prediction import Prediction
from flops_fit.scaling_law.quantities import PARAMETERS
from flops_fit.scaling_law.table.runs import Runs, read_runs
from flops_fit.tables.named import Units

SHAREABLE = ("E", "alpha", "beta")
UNLIKELY = 0.01  # chance below which the tables do not share what they were asked to


@dataclass(frozen=True, kw_only=True, eq=False)
class _Table:
    """One of the tables, fitted by itself."""

    runs: Runs
    flops_per_token: FlopsPerToken
    held: Held
    chosen: ValleyFit
    other: ParametricFit | None


def fit_scaling_law_together(
    tables: Mapping[str, Any],
    *,
    shared: Sequence[str] = ("alpha", "beta"),
    delta: float | Literal["auto"] = "auto",
    weighting: str | None = None,
    fix: Mapping[str, float | tuple[float, float]] | None = None,
    bootstraps: int = 1000,
    seed: int = 0,
    units: Units | None = None,
    loss_unit: str | None = None,
    columns: Mapping[str, str | None] | None = None,
    loss_kind: str | None = None,
    loss_offset: float = 0.0,
    flops_per_token: Mapping[str, Any] | None = None,
) -> dict[str, ScalingLaw]:
    """The five-parameter law of each of several tables, with `shared` parameters the same in all: name to law.

    For recipes whose separate fits are too loose to compare. Each table keeps its own weighting, delta and noise, found
    by itself; tables of less noise count for more. Resamples are drawn from each table apart and refitted together, so
    that the draws of two laws, one by one, are those of their difference:
    `laws["a"].draws_of("N_opt", C) / laws["b"].draws_of("N_opt", C)`. With one table it is
    `fit_scaling_law(..., form="chinchilla")`.

    Args:
        tables: what `fit_scaling_law` takes, by name.
        shared: of "E", "alpha" and "beta"; E where the data and its units are the same.
        flops_per_token: by name of the table; learned from the runs where a name is left out.
        delta, weighting, fix, bootstraps, seed, units, loss_unit, columns, loss_kind, loss_offset: as of
            `fit_scaling_law`, for every table.

    Raises `FitError` for no tables, unknown names among `shared` or `flops_per_token`, and runs that no law can be
    fitted to.
    """
    if not isinstance(tables, Mapping) or not tables:
        raise FitError('tables must be a mapping of at least one name to its runs, such as {"a": runs_a, "b": runs_b}')
    unknown = [name for name in shared if name not in SHAREABLE]
    if unknown or not shared or isinstance(shared, str):
        raise FitError(f"shared = {shared!r} must name some of {', '.join(SHAREABLE)}; A and B belong to one table")
    strange = set(flops_per_token or ()) - set(tables)
    if strange:
        raise FitError(f"flops_per_token names {min(strange)!r}, which is no table; give {', '.join(tables)}")
    options = checked_options(delta=delta, weighting=weighting, form="chinchilla", bootstraps=bootstraps, seed=seed)
    apart = {}
    for name, runs in tables.items():
        table = read_runs(
            runs, units=units, loss_unit=loss_unit, columns=columns, loss_kind=loss_kind, loss_offset=loss_offset
        )
        table = without_diverged(table) if delta == "auto" else table
        per_token = flops_per_token_of((flops_per_token or {}).get(name), table)
        apart[name] = _table(table, per_token, options, checked(fix, float(table.loss.min())))
    held = next(iter(apart.values())).held
    options |= with_fix(held)
    if len(apart) == 1:
        return {name: fit_table(table.runs, table.flops_per_token, options) for name, table in apart.items()}
    return _laws(apart, np.isin(PARAMETERS, list(shared)), options)


def _table(runs: Runs, per_token: FlopsPerToken, options: Mapping[str, Any], held: Held) -> _Table:
    chosen, other = fit_both(runs, per_token, options["delta"], options["weighting"], held)
    return _Table(runs=runs, flops_per_token=per_token, held=held, chosen=chosen, other=other)


def _laws(apart: Mapping[str, _Table], shared: np.ndarray, options: dict[str, Any]) -> dict[str, ScalingLaw]:
    tables = list(apart.values())
    separate = [table.chosen.fit for table in tables]
    fits = fit_jointly(separate, shared)
    draws, refits = bootstrap_jointly(
        fits, shared, [table.runs.cluster for table in tables], options["bootstraps"], options["seed"]
    )
    chance = sharing_chance(separate, fits, shared)
    names = [name for name, is_shared in zip(PARAMETERS, shared, strict=True) if is_shared]
    said = options | {"shared": names, "tables": list(apart)}
    finding = [] if chance >= UNLIKELY else [_not_shared(names, list(apart), chance)]
    asked = f"{' and '.join(names)} shared by {', '.join(apart)} (chance of such a misfit {chance:.2g})"
    laws = {}
    for at, (name, table) in enumerate(apart.items()):

        def refit(part: Runs, at: int = at, table: _Table = table) -> ParametricFit:
            own = fit_both(part, table.flops_per_token, options["delta"], options["weighting"], table.held)[0].fit
            return fit_jointly([*separate[:at], own, *separate[at + 1 :]], shared)[at]

        evidence = evidence_of(table.runs, table.flops_per_token, with_shared_held(fits[at], shared), None, draws[at])
        laws[name] = law_of(
            evidence,
            table.chosen,
            Prediction(asked=asked, misfit=Misfit(widening=UNSEEN)),  # resamples differ by less than studies do
            hold_out(table.runs, fits[at], table.flops_per_token, refit),
            said | _thinned(len(table.runs), refits),
            further=finding,
        )
    return laws


def _thinned(runs: int, refits: str) -> dict[str, Any]:
    return {"thinned": [f"each resample is {refits}"]} if runs > LARGE else {}


def _not_shared(names: Sequence[str], tables: Sequence[str], chance: float) -> Diagnostic:
    return Diagnostic(
        code="not_shared",
        severity="warning",
        message=f"{' and '.join(names)} are hardly the same in {', '.join(tables)}: fitted apart, the laws are better "
        f"than chance explains ({chance:.1g})",
        remedy="fit the tables apart, or share fewer parameters",
    )
