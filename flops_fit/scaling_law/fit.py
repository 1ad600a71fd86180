"""fit_scaling_law: from a table of runs to a ScalingLaw."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from flops_fit.errors import FitError
from flops_fit.scaling_law.compute import learn_flops_per_token
from flops_fit.scaling_law.diagnostics import Evidence, diagnose
from flops_fit.scaling_law.isoflop import isoflop_minima
from flops_fit.scaling_law.law import ScalingLaw
from flops_fit.scaling_law.parametric import fit_parametric
from flops_fit.scaling_law.runs import read_runs
from flops_fit.scaling_law.uncertainty import bootstrap


def fit_scaling_law(
    runs: Any,
    *,
    method: str = "parametric",
    delta: float | Literal["auto"] = "auto",
    bootstraps: int = 1000,
    seed: int = 0,
    units: Mapping[str, float] | None = None,
) -> ScalingLaw:
    """Fit `L(N, D) = E + A/N^alpha + B/D^beta` to runs, with each budget's own minimum and bootstrap intervals.

    Args:
        runs: DataFrame, path (.csv, .json, .jsonl, directory of results) or list of results; needs N, loss and D or
            FLOPs, under these or usual names.
        method: "parametric" (Hoffmann et al. 2022, approach 3).
        delta: Huber threshold on log-loss residuals; 0 for least absolute deviation; "auto" for 1.345 robust sigma.
        bootstraps: resamples for the intervals.
        seed: of the bootstrap; the same numbers every time.
        units: factor per column, such as `{"num_params": 1e9}` for billions.

    Raises `FitError` for runs that no law can be fitted to.
    """
    if method != "parametric":
        raise FitError(f"method = {method!r} is unknown; give 'parametric'")
    table = read_runs(runs, units=units)
    fit = fit_parametric(table.num_params, table.num_tokens, table.loss, weights=table.weight, delta=delta)
    minima = isoflop_minima(table)
    E, A, B, alpha, beta = fit.parameters.tolist()
    return ScalingLaw(
        E=E,
        A=A,
        B=B,
        alpha=alpha,
        beta=beta,
        objective=fit.objective,
        delta=fit.delta,
        sigma=fit.sigma,
        flops_per_token=learn_flops_per_token(table.num_params, table.num_tokens, table.flops),
        runs=table,
        isoflops=minima,
        draws=bootstrap(fit, table.weight, table.cluster, resamples=bootstraps, seed=seed),
        residual=fit.residual,
        at_bound=fit.at_bound,
        diagnostics=diagnose(Evidence(runs=table, fit=fit, minima=minima)),
        options={"method": method, "delta": delta, "bootstraps": bootstraps, "seed": seed},
    )
