"""Many training curves as a figure shows them: smoothed, thinned out, and the lowest of them all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from flops_fit.basics.formatting import format_count, format_flops, format_loss
from flops_fit.loss_curves.curves import LossCurve

NEAR = 1.25  # factor in tokens within which losses are averaged
STEADY = 5  # losses in an average that can be the lowest of all: fewer are lucky batches
MOST_POINTS = 20_000  # of all curves together
FEWEST = 8  # of each
MOST_CURVES = 1000  # that are drawn: of more, none could be told from the others
ABOUT = 1.02  # a training may end some tokens beyond its budget


@dataclass(frozen=True, kw_only=True, eq=False)
class DrawnCurve:
    """One curve: FLOPs and smoothed loss at a few of its steps, how it ended, and that in words."""

    compute_budget: float
    flops: np.ndarray
    loss: np.ndarray
    status: str
    held_out: float | None
    name: str


@dataclass(frozen=True, kw_only=True, eq=False)
class CurvesData:
    """The curves that are drawn, each of `points` points at most, and of all curves the envelope: the lowest smoothed
    loss that any training had reached with so many FLOPs, shape (steps,), where it falls."""

    curves: tuple[DrawnCurve, ...]
    points: int
    envelope_flops: np.ndarray
    envelope_loss: np.ndarray

    @property
    def budgets(self) -> list[float]:
        """Ascending, each once."""
        return sorted({curve.compute_budget for curve in self.curves})


def curves_data(curves: Sequence[LossCurve]) -> CurvesData:
    """What is drawn of `curves`, of which there is at least one."""
    shown = shown_curves(curves)
    points = points_of_each(len(shown))
    smooth = [smoothed(curve.tokens, curve.loss) for curve in curves]
    sure = [steady(curve.tokens) for curve in curves]
    flops, loss = envelope(
        np.concatenate([curve.flops[there] for curve, there in zip(curves, sure, strict=True)]),
        np.concatenate([losses[there] for losses, there in zip(smooth, sure, strict=True)]),
    )
    begun = np.searchsorted(flops, flops[0] * ABOUT, side="right") - 1  # by then all of the first budget's have
    flops, loss = flops[begun:], loss[begun:]
    drawn = []
    for curve, losses in ((curves[index], smooth[index]) for index in shown):
        kept = thinned(curve.flops, points)
        drawn.append(
            DrawnCurve(
                compute_budget=curve.compute_budget,
                flops=curve.flops[kept],
                loss=losses[kept],
                status=curve.status,
                held_out=curve.held_out,
                name=_in_words(curve, losses),
            )
        )
    return CurvesData(curves=tuple(drawn), points=points, envelope_flops=flops, envelope_loss=loss)


def shown_curves(curves: Sequence[LossCurve]) -> list[int]:
    """Which are drawn, ascending: all, or `MOST_CURVES`, first what did not complete, the others spread evenly."""
    completed = [index for index, curve in enumerate(curves) if curve.status == "completed"]
    others = [index for index, curve in enumerate(curves) if curve.status != "completed"]
    return sorted([*_evenly(others, MOST_CURVES), *_evenly(completed, MOST_CURVES - len(others))])


def _evenly(indices: Sequence[int], most: int) -> list[int]:
    if len(indices) <= most:
        return [*indices]
    return [indices[at] for at in np.linspace(0, len(indices) - 1, max(most, 0)).round().astype(int)]


def points_of_each(count: int) -> int:
    """How many points are drawn of each of `count` curves, at most."""
    return max(FEWEST, MOST_POINTS // count)


def smoothed(tokens: np.ndarray, loss: np.ndarray) -> np.ndarray:
    """The mean of the losses logged within a factor 1.25 of the tokens, shape (lines,): of single batches they are too
    noisy to be compared. `tokens` ascend."""
    first, last = _neighbours(tokens)
    total = np.append(0.0, np.cumsum(loss))
    return (total[last] - total[first]) / (last - first)


def steady(tokens: np.ndarray) -> np.ndarray:
    """Whether as many as five losses are averaged there, bool of shape (lines,); everywhere in a log without such."""
    first, last = _neighbours(tokens)
    found = last - first >= STEADY
    return found if found.any() else np.ones(len(tokens), dtype=bool)


def _neighbours(tokens: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """First and one past the last index of what is averaged at each line."""
    return np.searchsorted(tokens, tokens / NEAR, side="left"), np.searchsorted(tokens, tokens * NEAR, side="right")


def envelope(flops: np.ndarray, loss: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """FLOPs and loss, shape (steps,), where the lowest loss so far falls, of points in any order."""
    order = np.lexsort((loss, flops))
    lowest = np.minimum.accumulate(loss[order])
    falls = np.append(True, lowest[1:] < lowest[:-1])
    return flops[order][falls], lowest[falls]


def thinned(flops: np.ndarray, points: int) -> np.ndarray:
    """Indices of at most `points` of a curve, evenly over the logarithm of its FLOPs, the first and last among them."""
    if len(flops) <= points:
        return np.arange(len(flops))
    wanted = np.geomspace(flops[0], flops[-1], points)
    return np.unique(np.clip(np.searchsorted(flops, wanted), 0, len(flops) - 1))


def curves_text(curves: Sequence[LossCurve]) -> str:
    """What the figure shows, in words and numbers, for who cannot see it."""
    data = curves_data(curves)
    statuses = [curve.status for curve in curves]
    counted = ", ".join(f"{statuses.count(status)} {status}" for status in dict.fromkeys(statuses))
    reached = []
    for budget in data.budgets[:: max(1, len(data.budgets) // 6)]:
        by_then = data.envelope_flops <= budget * ABOUT
        if by_then.any():
            reached.append(f"{format_loss(data.envelope_loss[by_then].min())} with {format_flops(budget)} FLOPs")
    return (
        f"Training loss against FLOPs of {len(curves)} trainings ({counted}) at {len(data.budgets)} compute budgets. "
        f"The lowest loss that any had reached: {', '.join(reached) or format_loss(data.envelope_loss[-1])}."
    )


def curves_caption(curves: Sequence[LossCurve]) -> str:
    """How to read the figure, and what of the curves it leaves out."""
    points, longest = points_of_each(min(len(curves), MOST_CURVES)), max(len(curve.loss) for curve in curves)
    kept = f"{points} of up to {longest} logged" if points < longest else f"all of up to {longest} logged"
    some = ""
    if len(curves) > MOST_CURVES:
        some = f"{MOST_CURVES:,} of {len(curves):,} are drawn, those that did not complete first; "
        some += "the stepped line is of all. "
    return (
        f"{some}One line a training: its losses of single batches, "
        f"averaged over a factor {NEAR} in tokens each way; {kept} "
        f"points are drawn of each. The stepped line is the lowest average of {STEADY} or more that any had reached by "
        "then; dots are the held-out losses at the end, which the law is fitted to. A curve that still falls steeply "
        "at its end, or rises, says that its recipe does not suit it."
    )


def _in_words(curve: LossCurve, losses: np.ndarray) -> str:
    end = "" if curve.held_out is None else f", held out {format_loss(curve.held_out)}"
    return (
        f"{curve.experiment_id}: {curve.status}\nC = {format_flops(curve.flops[-1])} FLOPs, N = "
        f"{format_count(curve.num_params)}, D = {format_count(curve.tokens[-1])}\n"
        f"loss in training {format_loss(losses[-1])}{end}"
    )
