"""FLOPs that are counted in one way in some runs and in another in others."""

from __future__ import annotations

import itertools

import numpy as np

from flops_fit.basics.diagnostic import Diagnostic

APART, TIGHT = 0.05, 0.005  # of ln FLOPs/(N·D): between ways of counting, and within one
SIZES, MOSTLY = 3, 0.8  # sizes that share a way, and the share of runs that such ways hold
LOOSE, CLEAR = 0.05, 0.15  # as TIGHT and APART, of FLOPs that were measured; CLEAR is also a step from size to size,
TIMES = 3.0  # if it is as many times the next largest
SHOWN = 4  # rows that are named


def flops_conventions(N: np.ndarray, D: np.ndarray, C: np.ndarray, names: tuple[str, ...]) -> Diagnostic | None:
    """The finding for runs of shape (runs,), None where FLOPs are counted alike.

    What a model's own attention or embeddings add differs from size to size; the same factor at several sizes, and then
    another at several others, is a convention.
    """
    logs = np.log(C / N / D)
    groups = _groups(logs, N, APART, TIGHT) or _mixed(_groups(logs, N, CLEAR, LOOSE), N) or _step(logs, N)
    if not groups:
        return None
    middles = [float(np.median(logs[group])) for group in groups]
    said = ", ".join(f"{np.exp(middle):.3g}·N·D in {len(group)}" for middle, group in zip(middles, groups, strict=True))
    fewest = min(groups, key=len)
    rows = ", ".join(names[at] for at in np.sort(fewest)[:SHOWN]) + (", ..." if len(fewest) > SHOWN else "")
    return Diagnostic(
        code="flops_conventions",
        severity="error" if max(middles) - min(middles) > np.log(1.5) else "warning",
        message=f"FLOPs are counted in {len(groups)} ways: {said} of {len(N)} runs (the {len(fewest)}: {rows})",
        remedy="count them alike in the column flops, or leave it out for 6·N·D: --columns flops=none",
    )


def _groups(logs: np.ndarray, N: np.ndarray, apart: float, tight: float) -> list[np.ndarray]:
    """Runs by the way in which their FLOPs are counted, where there are several; indices, lowest first."""
    order = np.argsort(logs, kind="stable")
    groups = np.split(order, np.flatnonzero(np.diff(logs[order]) > apart) + 1)
    alike = [group for group in groups if _spread(logs[group]) < tight and len(np.unique(N[group])) >= SIZES]
    return alike if len(alike) > 1 and sum(map(len, alike)) >= MOSTLY * len(N) else []


def _mixed(groups: list[np.ndarray], N: np.ndarray) -> list[np.ndarray]:
    """The groups where sizes of one lie between those of another; else it is the model that changes with its size."""
    ends = sorted((float(N[group].min()), float(N[group].max())) for group in groups)
    apart = all(low > high for (_, high), (low, _) in itertools.pairwise(ends))
    return [] if apart else groups


def _spread(logs: np.ndarray) -> float:
    return float(np.std(logs)) * 2 if len(logs) > 8 else float(np.ptp(logs)) / 2


def _step(logs: np.ndarray, N: np.ndarray) -> list[np.ndarray]:
    """Small sizes and large ones, where FLOPs per parameter and token change smoothly with size but for one step."""
    sizes, of_run = np.unique(N, return_inverse=True)
    if len(sizes) < 2 * SIZES + 2:
        return []
    middle = np.array([np.median(logs[of_run == at]) for at in range(len(sizes))])
    scatter = np.abs(logs - middle[of_run]).max()
    steps = np.abs(np.diff(middle))
    slopes = steps / np.diff(np.log(sizes))  # a model's own curve steps where there is a gap between its sizes
    at = int(np.argmax(steps))
    stands_out = all(each[at] > TIMES * np.delete(each, at).max() for each in (steps, slopes))
    in_the_midst = SIZES <= at + 1 <= len(sizes) - SIZES
    if not (stands_out and in_the_midst and steps[at] > max(CLEAR, TIMES * scatter)):
        return []
    return [np.flatnonzero(of_run <= at), np.flatnonzero(of_run > at)]
