"""What each figure shows, as plain arrays; `plots.py` draws it. Needs no matplotlib."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from flops_fit.basics.formatting import format_count, format_flops, format_loss
from flops_fit.scaling_law.approaches.isoflop import IsoflopMinimum
from flops_fit.scaling_law.fitted import FittedLaw

FAR = 30.0  # times the runs' sizes, up to which a curve is drawn to reach its minimum
MOST_DRAWN = 3000  # runs that a figure shows as points


@dataclass(frozen=True, kw_only=True, eq=False)
class IsoflopCurve:
    """One budget: its runs (N, loss, in words), the fitted law along it, its own parabola over its runs, and where that
    has its minimum (None: not inside)."""

    compute_budget: float
    N: np.ndarray
    loss: np.ndarray
    names: tuple[str, ...]
    law_N: np.ndarray
    law_loss: np.ndarray
    own_N: np.ndarray
    own_loss: np.ndarray
    own_minimum: tuple[float, float] | None
    law_minimum: tuple[float, float] | None


@dataclass(frozen=True, kw_only=True, eq=False)
class IsoflopData:
    """IsoFLOP curves ascending in compute, runs that belong to none (C, N, loss, in words), and the optimum's path."""

    curves: tuple[IsoflopCurve, ...]
    other_flops: np.ndarray
    other_N: np.ndarray
    other_loss: np.ndarray
    other_names: tuple[str, ...]
    path_N: np.ndarray
    path_loss: np.ndarray


@dataclass(frozen=True, kw_only=True, eq=False)
class FrontierData:
    """N_opt, D_opt and L_opt against C with their 90 % bands (low, high), and the runs' own minima and losses.

    `*_band` is all of the error, `*_sampling` that of sampling alone.
    `minimum_*` are the interior minima of the budgets' own curves; `C_fitted` is the range of compute of the runs.
    """

    C: np.ndarray
    N: np.ndarray
    N_band: np.ndarray
    N_sampling: np.ndarray
    D: np.ndarray
    D_band: np.ndarray
    D_sampling: np.ndarray
    L: np.ndarray
    L_band: np.ndarray
    L_sampling: np.ndarray
    minimum_C: np.ndarray
    minimum_N: np.ndarray
    minimum_D: np.ndarray
    minimum_L: np.ndarray
    minimum_N_interval: np.ndarray
    run_C: np.ndarray
    run_loss: np.ndarray
    run_names: tuple[str, ...]
    C_fitted: tuple[float, float]
    flops_per_param_per_token: np.ndarray


@dataclass(frozen=True, kw_only=True, eq=False)
class ResidualData:
    """Residuals `ln L - ln L_pred` of the runs drawn, what they were trained on, and the runs in words.

    `sigma` is their robust standard deviation. The medians, of all runs, are one for each budget (where the runs form
    none, for each of up to eight groups by compute): of the residual, and of C, N and D there.
    """

    flops: np.ndarray
    num_params: np.ndarray
    num_tokens: np.ndarray
    distance: np.ndarray
    residual: np.ndarray
    names: tuple[str, ...]
    sigma: float
    by_budget: bool
    median_flops: np.ndarray
    median_params: np.ndarray
    median_tokens: np.ndarray
    median_residual: np.ndarray


@dataclass(frozen=True, kw_only=True, eq=False)
class ContourData:
    """Loss over a grid of N (columns) and D (rows), the runs, and the path of the optimum."""

    N: np.ndarray
    D: np.ndarray
    loss: np.ndarray
    run_N: np.ndarray
    run_D: np.ndarray
    run_names: tuple[str, ...]
    path_N: np.ndarray
    path_D: np.ndarray


@dataclass(frozen=True, kw_only=True, eq=False)
class CloudData:
    """Bootstrap draws of alpha, beta and a, with the point estimates."""

    alpha: np.ndarray
    beta: np.ndarray
    a: np.ndarray
    estimate: tuple[float, float, float]
    a_interval: tuple[float, float]


def drawn_runs(law: FittedLaw) -> np.ndarray:
    """Indices of the runs that figures show as points: all, or 3,000 spread evenly over compute and size."""
    runs = law.runs
    if len(runs) <= MOST_DRAWN:
        return np.arange(len(runs))
    order = np.lexsort((runs.num_params, runs.flops))
    return np.sort(order[np.linspace(0, len(order) - 1, MOST_DRAWN).astype(int)])


def run_residuals(law: FittedLaw) -> np.ndarray:
    """`ln L - ln L_pred` of every run, shape (runs,): by how much its loss lies above what the law answers there."""
    return np.log(law.runs.loss / law.loss(law.runs.num_params, law.runs.num_tokens))


def run_names(law: FittedLaw) -> tuple[str, ...]:
    """What to show of each run that is drawn, in words: its id, C, N, D, loss and residual."""
    runs, residual = law.runs, run_residuals(law)
    return tuple(
        f"{runs.experiment_id[i]}\nC = {format_flops(runs.flops[i])} FLOPs, N = {format_count(runs.num_params[i])}, "
        f"D = {format_count(runs.num_tokens[i])}\nloss {format_loss(runs.loss[i])}, {abs(residual[i]):.2%} "
        f"{'above' if residual[i] > 0 else 'below'} the law"
        for i in drawn_runs(law)
    )


def drawn_words(law: FittedLaw) -> str:
    """How many of the runs figures show, where that is not all of them."""
    return "" if len(law.runs) <= MOST_DRAWN else f" ({MOST_DRAWN:,} of {len(law.runs):,} drawn)"


def isoflop_data(law: FittedLaw) -> IsoflopData:
    """The IsoFLOP curves; where runs form no budgets, the law along a few computes that span them."""
    runs = law.runs
    drawn = np.zeros(len(runs), dtype=bool)
    drawn[drawn_runs(law)] = True
    names = np.full(len(runs), "", dtype=object)
    names[drawn] = run_names(law)
    own = {minimum.compute_budget: minimum for minimum in law.isoflops}
    budgets = sorted(own) or list(np.geomspace(runs.flops.min(), runs.flops.max(), 6))
    curves = tuple(_curve(law, budget, own.get(budget), drawn, names) for budget in budgets)
    other = drawn & ~np.isin(runs.budget, budgets)
    path_C = np.geomspace(budgets[0] / 1.5, budgets[-1] * 1.5, 60)
    path = (law.N_opt(path_C), law.L_opt(path_C)) if law.determined else (np.empty(0), np.empty(0))
    return IsoflopData(
        curves=curves,
        other_flops=runs.flops[other],
        other_N=runs.num_params[other],
        other_loss=runs.loss[other],
        other_names=tuple(names[other]),
        path_N=path[0],
        path_loss=path[1],
    )


def frontier_data(law: FittedLaw, *, beyond: float = 100.0, points: int = 30) -> FrontierData:
    """The frontier from the smallest run's compute to `beyond` times the largest's."""
    low, high = float(law.runs.flops.min()), float(law.runs.flops.max())
    C = np.geomspace(low, high * beyond, points)
    parts = {name: [law.interval(name, compute, parts=True) for compute in C] for name in ("N_opt", "D_opt", "L_opt")}
    bands = {name: np.array([each["total"] for each in found]) for name, found in parts.items()}
    sampling = {name: np.array([each["sampling"] for each in found]) for name, found in parts.items()}
    interior = [minimum for minimum in law.isoflops if minimum.interior]
    drawn = drawn_runs(law)
    return FrontierData(
        C=C,
        N=law.N_opt(C),
        N_band=bands["N_opt"],
        N_sampling=sampling["N_opt"],
        D=law.D_opt(C),
        D_band=bands["D_opt"],
        D_sampling=sampling["D_opt"],
        L=law.L_opt(C),
        L_band=bands["L_opt"],
        L_sampling=sampling["L_opt"],
        minimum_C=np.array([m.compute_budget for m in interior]),
        minimum_N=np.array([m.N for m in interior]),
        minimum_D=np.array([m.D for m in interior]),
        minimum_L=np.array([m.loss for m in interior]),
        minimum_N_interval=np.reshape([m.interval or (m.N, m.N) for m in interior], (-1, 2)),
        run_C=law.runs.flops[drawn],
        run_loss=law.runs.loss[drawn],
        run_names=run_names(law),
        C_fitted=(low, high),
        flops_per_param_per_token=law.flops_per_token(law.N_opt(C)) / law.N_opt(C),
    )


def residual_data(law: FittedLaw) -> ResidualData:
    """Residuals, and their median in each budget."""
    drawn, runs = drawn_runs(law), law.runs
    residual = run_residuals(law)
    distance = np.clip(runs.num_params / law.N_opt(runs.flops), 1e-6, 1e6)
    groups = _groups(law)

    def medians(values: np.ndarray) -> np.ndarray:
        return np.array([np.median(values[group]) for group in groups])

    return ResidualData(
        flops=runs.flops[drawn],
        num_params=runs.num_params[drawn],
        num_tokens=runs.num_tokens[drawn],
        distance=distance[drawn],
        residual=residual[drawn],
        names=run_names(law),
        sigma=law.sigma,
        by_budget=bool(len(runs.budgets)),
        median_flops=medians(runs.flops),
        median_params=medians(runs.num_params),
        median_tokens=medians(runs.num_tokens),
        median_residual=medians(residual),
    )


def _groups(law: FittedLaw) -> list[np.ndarray]:
    """Indices of the runs of each budget, ascending; where they form none, of up to eight groups by compute."""
    runs = law.runs
    if len(runs.budgets):
        return [np.flatnonzero(runs.budget == budget) for budget in runs.budgets]
    return np.array_split(np.argsort(runs.flops), max(1, min(8, len(runs) // 5)))


def contour_data(law: FittedLaw, *, points: int = 80) -> ContourData:
    """L(N, D) over the runs' range and half a decade beyond."""
    N = np.geomspace(law.runs.num_params.min() / 3, law.runs.num_params.max() * 3, points)
    D = np.geomspace(law.runs.num_tokens.min() / 3, law.runs.num_tokens.max() * 3, points)
    drawn = drawn_runs(law)
    path_C = np.geomspace(law.runs.flops.min() / 30, law.runs.flops.max() * 30, 60)
    return ContourData(
        N=N,
        D=D,
        loss=law.loss(N[None, :], D[:, None]),
        run_N=law.runs.num_params[drawn],
        run_D=law.runs.num_tokens[drawn],
        run_names=run_names(law),
        path_N=law.N_opt(path_C),
        path_D=law.D_opt(path_C),
    )


def cloud_data(law: FittedLaw) -> CloudData:
    """The bootstrap cloud of the exponents, without draws that ran to infinity."""
    finite = np.isfinite(law.draws).all(axis=1)
    return CloudData(
        alpha=law.draws[finite, 3],
        beta=law.draws[finite, 4],
        a=law.draws_of("a")[finite],
        estimate=(law.alpha, law.beta, law.a),
        a_interval=law.interval("a"),
    )


def _curve(
    law: FittedLaw, budget: float, minimum: IsoflopMinimum | None, drawn: np.ndarray, names: np.ndarray
) -> IsoflopCurve:
    own = law.runs.budget == budget
    members, shown = law.runs.subset(own), law.runs.subset(own & drawn)
    compute = float(np.median(members.flops)) if len(members) else budget
    centre = law.N_opt(compute)
    near = np.clip(centre, members.num_params.min() / FAR, members.num_params.max() * FAR) if len(members) else centre
    sizes = np.append(members.num_params, near)
    N = np.geomspace(sizes.min() / 1.4, sizes.max() * 1.4, 80) if law.determined else np.empty(0)
    own_N = np.geomspace(members.num_params.min(), members.num_params.max(), 60) if minimum else np.empty(0)
    return IsoflopCurve(
        compute_budget=budget,
        N=shown.num_params,
        loss=shown.loss,
        names=tuple(names[own & drawn]),
        law_N=N,
        law_loss=law.loss(N, compute / law.flops_per_token(N)),
        own_N=own_N,
        own_loss=np.polyval(minimum.coefficients, np.log(own_N) - minimum.centre) if minimum else np.empty(0),
        own_minimum=(minimum.N, minimum.loss) if minimum and minimum.interior else None,
        law_minimum=(centre, law.L_opt(compute)) if law.determined else None,
    )


def loss_label(law: FittedLaw, name: str = "Loss") -> str:
    """`name` with the unit of the law's losses, where it is known."""
    return f"{name} ({law.loss_unit})" if law.loss_unit else name
