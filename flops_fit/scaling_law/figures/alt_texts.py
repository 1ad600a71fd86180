"""What the figures of a law show, in words and numbers, for who cannot see them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from flops_fit.basics.formatting import format_count, format_flops, format_loss
from flops_fit.scaling_law.figures.plot_data import isoflop_data, residual_data
from flops_fit.scaling_law.figures.ratio_data import ratio_data
from flops_fit.scaling_law.fitted import FittedLaw

MOST_BUDGETS = 6  # that are told one by one


def isoflop_text(law: FittedLaw) -> str:
    """How many runs and budgets, and where each budget has its minimum."""
    data = isoflop_data(law)
    losses, budgets = _span(law.runs.loss, format_loss), len(law.isoflops) or "no common"
    runs = f"Loss against parameters of {len(law.runs)} runs at {budgets} compute budgets, from {losses}."
    if not law.determined:
        return f"{runs} They do not determine a law."
    at = [
        f"at {format_flops(curve.compute_budget)} FLOPs N = {format_count(curve.law_minimum[0])}, loss "
        f"{format_loss(curve.law_minimum[1])}" + _own(curve.own_minimum)
        for curve in _few(data.curves)
        if curve.law_minimum is not None
    ]
    return f"{runs} The law has its minima {'; '.join(at)}."


def frontier_text(law: FittedLaw) -> str:
    """N_opt, D_opt and loss where the runs begin and end, and far beyond."""
    low, high = float(law.runs.flops.min()), float(law.runs.flops.max())
    at = [
        f"at {format_flops(compute)} FLOPs N = {format_count(law.N_opt(compute))} "
        f"({_span(law.interval('N_opt', compute), format_count)}), D = {format_count(law.D_opt(compute))}, loss "
        f"{format_loss(law.L_opt(compute))} ({_span(law.interval('L_opt', compute), format_loss)})"
        for compute in (low, high, 100 * high)
    ]
    return f"Optimal parameters, tokens and loss against compute, with 90 % intervals: {'; '.join(at)}."


def ratio_text(law: FittedLaw) -> str:
    """D/N of the runs, and at the optimum where the runs begin and end, and far beyond."""
    data = ratio_data(law, count=2)
    at = [
        f"{ratio:.3g} ({low:.3g} to {high:.3g}) at {format_flops(compute)} FLOPs"
        for compute, ratio, (low, high) in zip(data.C, data.ratio, data.band, strict=True)
    ]
    runs = _span(law.runs.num_tokens / law.runs.num_params, lambda value: f"{value:.3g}")
    return f"Tokens per parameter against compute: {runs} in the runs; optimal, with 90 % intervals, {', '.join(at)}."


def residual_text(law: FittedLaw) -> str:
    """How far the runs lie from the law, and the median of each budget."""
    data = residual_data(law)
    medians = [
        f"{median:+.2%} at {format_flops(compute)} FLOPs"
        for compute, median in _few([*zip(data.median_flops, data.median_residual, strict=True)])
    ]
    worst = _span(data.residual, lambda value: f"{value:+.2%}")
    return (
        f"Loss above the law of {len(law.runs)} runs, {worst}, standard deviation {law.sigma:.2%}, against compute, "
        f"distance from the optimum, size and tokens. Medians: {', '.join(medians)}."
    )


def contour_text(law: FittedLaw) -> str:
    """The range of N, D and loss."""
    runs = law.runs
    predicted = law.loss(runs.num_params, runs.num_tokens)
    return (
        f"Predicted loss over parameters and tokens, {_span(predicted, format_loss)} where the {len(runs)} runs are: N "
        f"{_span(runs.num_params, format_count)}, D {_span(runs.num_tokens, format_count)}."
    )


def exponents_text(law: FittedLaw) -> str:
    """The exponents with their intervals."""
    said = [
        f"{name} = {getattr(law, name):.3f} ({_span(law.interval(name), lambda value: f'{value:.3f}')})"
        for name in ("alpha", "beta", "a")
    ]
    return f"Exponents of {len(law.draws)} refits, with 90 % intervals: {', '.join(said)}."


def _own(minimum: tuple[float, float] | None) -> str:
    return "" if minimum is None else f" (its own N = {format_count(minimum[0])}, loss {format_loss(minimum[1])})"


def _few(items: Sequence[Any]) -> list[Any]:
    """All, or a few spread evenly."""
    return [items[i] for i in np.unique(np.linspace(0, len(items) - 1, min(MOST_BUDGETS, len(items))).astype(int))]


def _span(values: Sequence[float] | np.ndarray, show: Callable[[float], str]) -> str:
    return f"{show(float(np.min(values)))} to {show(float(np.max(values)))}"
