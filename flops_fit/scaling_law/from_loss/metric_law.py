"""MetricLaw: a metric at a compute budget, by the law's loss there and the metric as a function of the loss."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np
import pandas as pd

from flops_fit.basics.arguments import LEFT_OUT, is_number, matching, need, number, whole
from flops_fit.basics.diagnostic import Diagnostic
from flops_fit.basics.formatting import format_flops, format_loss, markdown_table
from flops_fit.errors import FitError
from flops_fit.scaling_law.by_set import SET_OPTION
from flops_fit.scaling_law.fitted import FittedLaw
from flops_fit.scaling_law.fitting.uncertainty import percentile_interval
from flops_fit.scaling_law.from_loss.shown import METRIC_HEADERS, METRICS_OPTION, metric_cells
from flops_fit.scaling_law.from_loss.sigmoid import FREE, fit_sigmoid, limits_of, refit_sigmoid, sigmoid
from flops_fit.scaling_law.quantities import one_compute
from flops_fit.scaling_law.table.columns import runs_table
from flops_fit.tables.losses import as_losses
from flops_fit.tables.named import Units

LawKind = TypeVar("LawKind", bound=FittedLaw)
FEWEST = FREE + 2  # runs
MOVED = 3.0  # times its noise the metric must have moved between the runs for the sigmoid to mean anything
SURE = 2.0  # standard errors of a rank correlation of nothing, above which a metric is taken to rise with the loss
FAR = 0.5  # of the range of the runs' losses below the lowest: how far a loss may lie before it is said


@dataclass(frozen=True, kw_only=True, eq=False)
class MetricLaw:
    """`metric = floor + (ceiling - floor) / (1 + exp(slope·(loss - midpoint)))`, fitted to runs that have both.

    The second step of Llama 3 (Dubey et al. 2024, arXiv 2407.21783, section 3.2.1) and of OLMo's model ladders (Bhagia
    et al. 2024, arXiv 2412.04403): compute → loss by the law, loss → metric by this.

    Attributes:
        name: of the metric.
        law: the law of the loss that it is a function of.
        loss, value: of the runs, shape (runs,).
        draws: refits of (floor, ceiling, slope, midpoint) on resampled residuals, shape (resamples, 4).
        residual: of each run, the metric less the fit.
        known: the ends that were given instead of fitted, "floor" or "ceiling".
        diagnostics: findings; none where all is well.
    """

    name: str
    law: FittedLaw
    floor: float
    ceiling: float
    slope: float
    midpoint: float
    loss: np.ndarray
    value: np.ndarray
    draws: np.ndarray
    residual: np.ndarray
    known: tuple[str, ...] = ()
    diagnostics: tuple[Diagnostic, ...] = ()

    @property
    def parameters(self) -> np.ndarray:
        """(floor, ceiling, slope, midpoint)."""
        return np.array([self.floor, self.ceiling, self.slope, self.midpoint])

    @property
    def sigma(self) -> float:
        """Standard deviation of the residuals, in the metric's own unit, for as many runs as parameters were fitted."""
        return _scatter(self.residual, FREE - len(self.known))

    def at_loss(self, loss: Any) -> Any:
        """The metric at a loss."""
        found = sigmoid(self.parameters, loss)
        return float(found) if np.ndim(found) == 0 else found

    def at(self, compute: float) -> float:
        """The metric of the compute-optimal model at C FLOPs."""
        return self.at_loss(self.law.L_opt(one_compute(compute)))

    def draws_at(self, compute: float, *, new_run: bool = True) -> np.ndarray:
        """Draws of the metric at the optimum of C FLOPs, shape (resamples,): of the law's loss there, each with a refit
        of the sigmoid, and of a `new_run` with its own noise in the loss and in the metric."""
        compute = one_compute(compute)
        at = {"num_params": self.law.N_opt(compute), "num_tokens": self.law.D_opt(compute)}
        loss = self.law.draws_of("new_run", **at) if new_run else self.law.draws_of("L_opt", compute)
        generator = np.random.default_rng(0)
        drawn = sigmoid(self.draws[generator.integers(len(self.draws), size=len(loss))], loss)
        if not new_run:
            return drawn
        noisy = drawn + generator.choice(_widened(self.residual, FREE - len(self.known)), size=len(loss))
        ends = [self.floor if "floor" in self.known else -np.inf, self.ceiling if "ceiling" in self.known else np.inf]
        return np.clip(noisy, *(ends if self.value.min() < 0 or self.value.max() > 1 else [0, 1]))

    def interval(self, compute: float, *, level: float = 0.9, new_run: bool = True) -> tuple[float, float]:
        """(low, high) of the metric of a model trained at the optimum of C FLOPs, or without `new_run` of its mean.

        Raises `FitError` for a level that is not between 0 and 1.
        """
        if not (is_number(level) and 0 < level < 1):
            raise FitError(f"level = {level!r} must lie between 0 and 1, for example 0.9")
        return percentile_interval(self.draws_at(compute, new_run=new_run), level)

    def findings_at(self, compute: float) -> list[Diagnostic]:
        """What speaks against the prediction at C FLOPs."""
        lowest, span = float(self.loss.min()), float(np.ptp(self.loss))
        there = self.law.L_opt(one_compute(compute))
        if there >= lowest - FAR * span:
            return list(self.diagnostics)
        message = (
            f"{self.name} at {format_flops(compute)} FLOPs is read at loss {format_loss(there)}, where the runs end at "
            f"{format_loss(lowest)}"
        )
        remedy = "train a run of more compute, or ask about a nearer budget"
        return [*self.diagnostics, Diagnostic(code="metric_far", severity="warning", message=message, remedy=remedy)]

    def rows(self, budgets: Iterable[float]) -> list[dict[str, Any]]:
        """The prediction at each of `budgets` (FLOPs), as plain values."""
        return [
            {
                "metric": self.name,
                "compute": float(compute),
                "loss": float(self.law.L_opt(compute)),
                "predicted": self.at(compute),
                "interval": [float(end) for end in self.interval(compute)],
                "doubts": [finding.message for finding in self.findings_at(compute)],
            }
            for compute in budgets
        ]

    def table(self, budgets: Iterable[float] | None = None) -> str:
        """A Markdown table of the predictions; by default at the law's own budgets and to 100 times beyond."""
        rows = self.rows(self.law.default_budgets() if budgets is None else budgets)
        return markdown_table(METRIC_HEADERS, [metric_cells(row) for row in rows])

    def __repr__(self) -> str:
        return (
            f"MetricLaw({self.name} = {self.floor:.4g} + {self.ceiling - self.floor:.4g} / (1 + "
            f"exp({self.slope:.4g}·(loss - {self.midpoint:.4g}))), {len(self.loss)} runs, sd {self.sigma:.2g})"
        )


def fit_metric(
    law: FittedLaw,
    runs: Any,
    metric: str,
    *,
    columns: Mapping[str, str | None] | None = None,
    units: Units | None = None,
    loss_kind: str | None = None,
    loss_offset: float = 0.0,
    floor: float | None = None,
    ceiling: float | None = None,
    resamples: int = 400,
    seed: int = 0,
) -> MetricLaw:
    """Fit `metric` as a falling sigmoid of the loss, to predict it where the law predicts the loss.

    Args:
        law: of the loss; best of a held-out set of the same task, which says more than a general one.
        runs: a table with a column `metric` and the loss: DataFrame, path (.csv, ...) or list of results.
        columns, units, loss_kind, loss_offset: how the table is read, as of `fit_scaling_law`. The loss is by default
            the column of the law's held-out set (`loss_code`), else `loss`.
        floor: the metric without any skill, such as 0.25 for four choices; by default fitted.
        ceiling: the metric of a perfect model; by default fitted.
        resamples: refits for the intervals, on resampled residuals.
        seed: of the resampling; the same numbers every time.

    Raises `FitError` for fewer than 6 runs that have both, for a metric that rises with the loss, and for a law that
    its runs do not determine.
    """
    need("resamples", resamples, whole(20), FitError)
    need("seed", seed, whole(0), FitError)
    need("metric", metric, matching(r".+", "the name of a column"), FitError)
    for name, end in (("floor", floor), ("ceiling", ceiling)):
        need(name, end, number() | LEFT_OUT, FitError)
    if floor is not None and ceiling is not None and not floor < ceiling:
        raise FitError(f"floor = {floor:g} must lie below ceiling = {ceiling:g}")
    if not law.determined:
        raise FitError("the law's runs do not determine it, so there is no loss to read a metric at; see its findings")
    frame = runs_table(runs, units, columns, loss_kind, loss_offset).frame
    column = _loss_column(law, frame, columns or {})
    if column != "loss" and column in frame:  # `runs_table` made losses of `loss` alone
        frame[column] = as_losses(frame[column].to_numpy(dtype=float), loss_kind, loss_offset)[0]
    x, y = _columns(frame, column, metric)
    limits = limits_of(y, floor, ceiling)
    found = fit_sigmoid(x, y, limits)
    residual = y - sigmoid(found, x)
    generator = np.random.default_rng(seed)
    noise = generator.choice(_widened(residual, limits.free), size=(resamples, len(y)))
    draws = np.stack([refit_sigmoid(found, x, sigmoid(found, x) + each, limits) for each in noise])
    return MetricLaw(
        name=metric,
        law=law,
        **dict(zip(("floor", "ceiling", "slope", "midpoint"), found.tolist(), strict=True)),
        loss=x,
        value=y,
        draws=draws,
        residual=residual,
        known=tuple(name for name, end in (("floor", floor), ("ceiling", ceiling)) if end is not None),
        diagnostics=_findings(metric, x, found, residual, limits.free),
    )


def with_metrics(law: LawKind, runs: Any, metrics: Iterable[str], **reading: Any) -> LawKind:
    """`law` with what `metrics`, columns of `runs`, are predicted to be at the budgets that its summary shows; as of
    `fit_metric`, which says what it raises."""
    budgets = law.default_budgets()[-2:]
    rows = [row for metric in metrics for row in fit_metric(law, runs, metric, **reading).rows(budgets)]
    return replace(law, options={**law.options, METRICS_OPTION: rows}) if rows else law


def _loss_column(law: FittedLaw, frame: pd.DataFrame, named: Mapping[str, str | None]) -> str:
    """The losses of the law's held-out set, where the table has them and no other column was `named`."""
    own = f"loss_{law.options[SET_OPTION]}" if SET_OPTION in law.options and "loss" not in named else "loss"
    return own if own in frame else "loss"


def _columns(frame: pd.DataFrame, column: str, metric: str) -> tuple[np.ndarray, np.ndarray]:
    """Losses, which are in `column`, and values of the metric, of the runs that have both."""
    for name in (metric, column):
        if name not in frame:
            raise FitError(f"the runs have no column {name}; they have {', '.join(map(str, frame.columns))}")
    both = frame[[column, metric]].apply(lambda values: values.astype(float), axis=0)
    if "status" in frame:
        both = both[frame["status"] == "completed"]
    both = both[np.isfinite(both).all(axis=1)]
    if len(both) < FEWEST:
        raise FitError(f"{len(both)} runs have both {column} and {metric}; at least {FEWEST} are needed")
    x, y = both[column].to_numpy(), both[metric].to_numpy()
    if np.ptp(x) == 0 or np.ptp(y) == 0:
        raise FitError(f"{metric if np.ptp(y) == 0 else column} is the same in all runs; give runs that differ")
    if np.corrcoef(_ranks(x), _ranks(y))[0, 1] > SURE / np.sqrt(len(x)):
        raise FitError(f"{metric} rises with {column}; give one that falls, such as 1 - {metric}")
    return x, y


def _ranks(values: np.ndarray) -> np.ndarray:
    return np.argsort(np.argsort(values, kind="stable"), kind="stable")


def _widened(residual: np.ndarray, free: int) -> np.ndarray:
    """Residuals about 0 as large as noise is expected to be, of which the fit has taken away its share."""
    centred = residual - residual.mean()
    return centred * np.sqrt(len(residual) / max(len(residual) - free, 1))


def _scatter(residual: np.ndarray, free: int) -> float:
    return float(np.sqrt((residual**2).sum() / max(len(residual) - free, 1)))


def _findings(
    metric: str, loss: np.ndarray, found: np.ndarray, residual: np.ndarray, free: int
) -> tuple[Diagnostic, ...]:
    moved, noise = float(np.ptp(sigmoid(found, loss))), _scatter(residual, free)
    if moved >= MOVED * noise:
        return ()
    message = f"{metric} moved by {moved:.3g} between the runs, {moved / noise:.2g} times its noise of {noise:.2g}"
    remedy = (
        "read no more into it than that: train runs of more compute, measure on more examples, or take the loss on the "
        "task's own answers, which moves before the metric does"
    )
    return (Diagnostic(code="metric_flat", severity="warning", message=message, remedy=remedy),)
