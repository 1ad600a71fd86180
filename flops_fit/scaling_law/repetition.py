"""How much repeated data, and parameters beyond what its unique tokens ask for, are worth (Muennighoff et al. 2023)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from scipy.optimize import minimize, minimize_scalar

from flops_fit.errors import FitError
from flops_fit.scaling_law.fitting.newton import minimise
from flops_fit.scaling_law.fitting.objective import PARAMETERS, huber
from flops_fit.scaling_law.fitting.parametric import TUNING, ParametricFit, fit_parametric, robust_sigma
from flops_fit.scaling_law.fitting.starts import local_minima
from flops_fit.scaling_law.fitting.uncertainty import percentile_interval, resampled_counts
from flops_fit.scaling_law.table.runs import Runs, read_runs

DATA_REPETITION = 15.39  # R*_D of Muennighoff et al. 2023, "Scaling Data-Constrained Language Models", appendix A
RANGE = (0.1, 1000.0)  # R* that are tried; the last stands for no loss of worth at all
JOINT_GRID, BASE_GRID = 20, 72
HOPELESS = 1.5  # times the lowest objective: no resample is refitted there,
REACHES = 0.8 * 0.5 ** np.arange(10)  # in ln R*_D to each side, where all are: the first with a likely objective
LEVEL = 0.9
FEWEST_FRESH = 8


@dataclass(frozen=True, kw_only=True)
class Repetition:
    """How fast repeated tokens and excess parameters lose their worth; infinity where they lose none.

    Attributes:
        data: R*_D, repetitions beyond which a token is hardly worth seeing again (`effective_tokens`).
        params: R*_N, the same of parameters beyond those that are optimal for the unique tokens.
        data_interval, params_interval: at 90 %, of resampled configurations.
        base: (E, A, B, alpha, beta) of the law of fresh data; `base_given` or else fitted together with R*_D.
        objective: sum of Huber losses (threshold `delta`) of log-loss residuals.
        sigma: robust standard deviation of these residuals.
        minima: (R*_D, R*_N, objective) of every local minimum, the lowest first.
    """

    data: float
    params: float
    data_interval: tuple[float, float]
    params_interval: tuple[float, float]
    base: tuple[float, ...]
    base_given: bool
    objective: float
    delta: float
    sigma: float
    minima: tuple[tuple[float, float, float], ...]

    def __float__(self) -> float:
        return self.data

    def loss(self, num_params: Any, num_tokens: Any, unique_tokens: Any) -> np.ndarray:
        """Predicted loss in nats of N parameters that see D tokens, of which `unique_tokens` are different."""
        E, A, B, alpha, beta = self.base
        N = effective_params(num_params, unique_params(np.array(self.base), unique_tokens), self.params)
        D = effective_tokens(num_tokens, unique_tokens, self.data)
        return np.asarray(E + A * N**-alpha + B * D**-beta)


def effective_tokens(tokens: Any, unique_tokens: Any, repetition: float = DATA_REPETITION) -> Any:
    """What `tokens` seen in training are worth when only `unique_tokens` are different: U + U·R*·(1 - exp(-R/R*)) with
    R = D/U - 1 repetitions (Muennighoff et al. 2023, equation 5); all of them where R* is infinite."""
    D, U = np.asarray(tokens, dtype=float), np.asarray(unique_tokens, dtype=float)
    if np.isinf(repetition):
        return D if D.ndim else float(D)
    repeats = np.maximum(D / U - 1, 0)
    return np.minimum(D, U) + U * repetition * (1 - np.exp(-repeats / repetition))


def effective_params(num_params: Any, unique_params: Any, repetition: float) -> Any:
    """What N parameters are worth where `unique_params` are optimal for the unique tokens: as `effective_tokens`, with
    R*_N (equation 6)."""
    return effective_tokens(num_params, unique_params, repetition)


def fit_repetition(
    runs: Any,
    *,
    base: Any = None,
    excess_params: bool | None = None,
    delta: float | Literal["auto"] = "auto",
    bootstraps: int = 100,
    seed: int = 0,
) -> Repetition:
    """R* that fit `runs` best: anything `fit_scaling_law` takes, with a column epochs or unique_tokens.

    Without `base` the law of fresh data and R*_D are fitted together, to the same runs: for each R*_D the law on
    effective tokens, R*_D by the lowest objective. With it that law is held, and R*_D and R*_N are fitted, as in the
    publication (appendix A; its delta is 1e-3).

    Args:
        base: a law (its five parameters), or a mapping of E, A, B, alpha and beta, of fresh data.
        excess_params: whether excess parameters lose worth too; by default where a base is given, and only there.
        delta: Huber threshold on log-loss residuals; "auto" for 1.345 robust sigma of the runs that repeat nothing.
        bootstraps: resamples for the intervals.
        seed: of the bootstrap.

    Raises `FitError` where no run repeats data, since R* then shows in nothing, and for a base that is no law.
    """
    table = read_runs(runs)
    repeats = np.isfinite(table.epochs) & (table.epochs > 1.0 + 1e-9)
    if not repeats.any():
        raise FitError(
            "no run repeats data (column epochs above 1, or unique_tokens below num_tokens); use the constant of the "
            "literature, 15.39"
        )
    if excess_params and base is None:
        raise FitError("excess_params = True needs the law of fresh data; give base=fit_scaling_law(fresh_runs)")
    unique = np.where(repeats, table.num_tokens / np.where(repeats, table.epochs, 1.0), table.num_tokens)
    fresh = ~repeats if (~repeats).sum() >= FEWEST_FRESH else np.ones(len(table), dtype=bool)
    counts = resampled_counts(table.cluster, bootstraps, seed).astype(float)
    if base is None:
        return _fit_joint(table, unique, fresh, delta, counts)
    return _fit_to_base(table, unique, fresh, _base(base), delta, counts, excess_params is not False)


def _base(base: Any) -> np.ndarray:
    given = base if isinstance(base, Mapping) else {name: getattr(base, name, None) for name in PARAMETERS}
    try:
        values = np.array([given[name] for name in PARAMETERS], dtype=float)
    except (KeyError, TypeError, ValueError):
        values = np.array([np.nan])
    if not (np.isfinite(values) & (values >= 0)).all() or (values[1:] == 0).any():
        raise FitError(f"base = {base!r} must be a law or a mapping of positive {', '.join(PARAMETERS)}")
    return values


def _fit_joint(
    table: Runs, unique: np.ndarray, fresh: np.ndarray, delta: float | Literal["auto"], counts: np.ndarray
) -> Repetition:
    """The law of fresh data and R*_D together."""
    part = table.subset(fresh)
    chosen = fit_parametric(part.num_params, part.num_tokens, part.loss, weights=part.weight, delta=delta).delta

    def fit(log_r: float) -> ParametricFit:
        D = effective_tokens(table.num_tokens, unique, float(np.exp(log_r)))
        return fit_parametric(table.num_params, D, table.loss, weights=table.weight, delta=chosen)

    coarse = np.linspace(np.log(RANGE[0]), np.log(RANGE[1]), JOINT_GRID)
    values = np.array([fit(x).objective for x in coarse])
    found = []
    for at in local_minima(values[:, None])[:, 0]:
        bounds = coarse[max(at - 1, 0)], coarse[min(at + 1, len(coarse) - 1)]
        end = minimize_scalar(lambda x: fit(x).objective, bounds=bounds, method="bounded", options={"xatol": 1e-5})
        found.append((_outside(end.x), np.inf, float(end.fun)))
    found.sort(key=lambda minimum: minimum[2])
    centre = float(np.log(min(found[0][0], RANGE[1])))
    best = fit(centre)
    reach = next(
        x for x in REACHES if fit(centre + x).objective < best.objective + 10 * best.sigma**2 or x == REACHES[-1]
    )
    around = np.minimum(centre + reach * np.linspace(-1, 1, 7), coarse[-1])
    grid = np.union1d(coarse[values <= HOPELESS * best.objective], around)
    refitted = np.array([_refitted(fit(x), counts) for x in grid])  # (grid, resamples)
    draws = np.array([_outside(_lowest(grid, column)) for column in refitted.T])
    return Repetition(
        data=found[0][0],
        params=np.inf,
        data_interval=percentile_interval(draws, LEVEL),
        params_interval=(np.inf, np.inf),
        base=tuple(best.parameters.tolist()),
        base_given=False,
        objective=best.objective,
        delta=chosen,
        sigma=best.sigma,
        minima=tuple(found),
    )


def _refitted(fit: ParametricFit, counts: np.ndarray) -> np.ndarray:
    """The objective of each resample with this R*_D, the law refitted."""
    starts = np.repeat(fit.theta[None], len(counts), axis=0)
    weights = counts * fit.weights
    return minimise(starts, fit.data, weights, fit.delta, max_iterations=60, tolerance=1e-7, warm=True).value


def _lowest(grid: np.ndarray, values: np.ndarray) -> float:
    """Where a parabola through the lowest of `values` and its neighbours is lowest."""
    at = int(np.argmin(values))
    if at in (0, len(grid) - 1):
        return float(grid[at])
    curvature, slope, _ = np.polyfit(grid[at - 1 : at + 2] - grid[at], values[at - 1 : at + 2], 2)
    return float(grid[at] - slope / (2 * curvature))


def _outside(log_r: float) -> float:
    """R*, infinite at the end of what is tried."""
    return float(np.exp(log_r)) if log_r < np.log(RANGE[1]) - 1e-3 else float("inf")


def _fit_to_base(
    table: Runs,
    unique: np.ndarray,
    fresh: np.ndarray,
    base: np.ndarray,
    delta: float | Literal["auto"],
    counts: np.ndarray,
    excess_params: bool,
) -> Repetition:
    """R*_D and R*_N beside a law that is held."""
    E, A, B, alpha, beta = base
    own = unique_params(base, unique)
    log_loss = np.log(table.loss)

    def residual(log_r: np.ndarray) -> np.ndarray:
        D = effective_tokens(table.num_tokens, unique, _outside(log_r[0]))
        N = effective_params(table.num_params, own, _outside(log_r[1]))
        return np.asarray(np.log(E + A * N**-alpha + B * D**-beta) - log_loss)

    none = float(np.log(RANGE[1]))
    nothing_lost = residual(np.array([none, none]))[fresh]
    chosen = float(TUNING * robust_sigma(nothing_lost, table.weight[fresh], 0) if delta == "auto" else delta)
    data = np.linspace(np.log(RANGE[0]), none, BASE_GRID)
    params = data if excess_params else data[-1:]
    cells = np.array([[table.weight * huber(residual(np.array([x, y])), chosen) for y in params] for x in data])

    def objective(log_r: np.ndarray) -> float:
        return float(table.weight @ huber(residual(log_r), chosen))

    starts = [np.array([data[i], params[j]]) for i, j in local_minima(cells.sum(axis=-1))]
    minima = _distinct([_polished(objective, start, excess_params) for start in starts], objective)
    lowest = np.argmin(cells.reshape(-1, len(table)) @ counts.T, axis=0)
    cell = data[lowest // len(params)], params[lowest % len(params)]
    draws = [np.array([_outside(x) for x in each]) for each in cell]
    best = residual(np.log(np.minimum(minima[0][:2], RANGE[1])))
    return Repetition(
        data=minima[0][0],
        params=minima[0][1],
        data_interval=percentile_interval(draws[0], LEVEL),
        params_interval=percentile_interval(draws[1], LEVEL),
        base=tuple(base.tolist()),
        base_given=True,
        objective=minima[0][2],
        delta=chosen,
        sigma=robust_sigma(best, table.weight, 1 + excess_params),
        minima=tuple(minima),
    )


def _distinct(ends: list[np.ndarray], objective: Callable[[np.ndarray], float]) -> list[tuple[float, float, float]]:
    """(R*_D, R*_N, objective) of ends that lie apart, the lowest first."""
    kept: list[np.ndarray] = []
    for end in sorted(ends, key=objective):
        if all(np.abs(end - other).max() > 1e-3 for other in kept):
            kept.append(end)
    return [(_outside(end[0]), _outside(end[1]), objective(end)) for end in kept]


def unique_params(base: np.ndarray, unique_tokens: Any) -> np.ndarray:
    """N for which `unique_tokens` are optimal (equation 10 of the publication, FLOPs being proportional to N·D)."""
    _, A, B, alpha, beta = base
    log_g = (np.log(alpha * A) - np.log(beta * B)) / (alpha + beta)
    return np.asarray(np.exp((np.log(unique_tokens) + log_g) * beta / alpha + log_g))


def _polished(function: Callable[[np.ndarray], float], start: np.ndarray, both: bool) -> np.ndarray:
    """The local minimum from a cell of the grid, within what is tried; of the first coordinate alone unless `both`."""
    free = 2 if both else 1
    limits = [tuple(np.log(RANGE))] * free

    def whole(x: np.ndarray) -> np.ndarray:
        return np.append(x, start[free:])

    options = {"xatol": 1e-7, "fatol": 1e-13, "maxiter": 2000}
    end = minimize(lambda x: function(whole(x)), start[:free], method="Nelder-Mead", bounds=limits, options=options)
    return whole(end.x)
