"""Least squares of a few terms none of which may be negative: every choice of them, of which there are few."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np

_AS_GOOD = 1e-6  # of the sum of squares, about 1 for each row


def fit_not_negative(rows: np.ndarray, goal: np.ndarray, choices: Sequence[Sequence[int]] | None = None) -> np.ndarray:
    """`x >= 0` with the least `|rows @ x - goal|`, (terms,).

    Args:
        rows: (number of rows, terms).
        goal: (number of rows,).
        choices: terms that may be other than 0, of equally good ones the first; by default any, the fewest first.

    Exact: at the least, what is not 0 is the least squares of those terms alone.
    """
    count = rows.shape[1]
    any_terms = (terms for size in range(1, count + 1) for terms in itertools.combinations(range(count), size))
    best, least = np.zeros(count), float(np.square(goal).sum())
    scale = np.where(rows.any(axis=0), np.abs(rows).max(axis=0), 1.0)
    for terms in choices or any_terms:
        chosen = [term for term in terms if rows[:, term].any()]
        if len(chosen) < len(terms) or len(chosen) > len(rows):
            continue
        found, *_ = np.linalg.lstsq(rows[:, chosen] / scale[chosen], goal, rcond=None)
        if (found < 0).any():
            continue
        solution = np.zeros(count)
        solution[chosen] = found / scale[chosen]
        error = float(np.square(rows @ solution - goal).sum())
        if error < least * (1 - _AS_GOOD) - 1e-15:
            best, least = solution, error
    return best
