"""What may be trained, what is chosen of it, and both as arrays."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np

from flops_fit.basics.arguments import need, number
from flops_fit.errors import FitError

SAME_SIZE, SAME_TOKENS = 1e-3, 0.02  # in logarithms: a run with this N and, to a batch or so, these D is the candidate


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """An experiment that may be trained: parameters, tokens and the FLOPs it costs; `label` is the caller's own.

    Raises `FitError` for what is no positive number.
    """

    num_params: float
    num_tokens: float
    flops: float
    label: str = ""

    def __post_init__(self) -> None:
        for name in ("num_params", "num_tokens", "flops"):
            need(f"candidate {self.label or '?'}: {name}", getattr(self, name), number(above=0), FitError)


@dataclass(frozen=True, kw_only=True)
class Suggestion:
    """One experiment to train next.

    Attributes:
        reason: why, in a short sentence.
        width_before: `target_width` without it (and with those suggested before it); None before there is a law.
        width_after: what it is expected to be with it.
        widths_after: the same of "N_opt" and "L_opt" each, in its own logarithm; empty before there is a law.
    """

    candidate: Candidate
    reason: str
    width_before: float | None
    width_after: float | None
    widths_after: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, eq=False)
class Points:
    """Parameters, tokens and FLOPs of several experiments, arrays of shape (points,)."""

    N: np.ndarray
    D: np.ndarray
    C: np.ndarray

    def __len__(self) -> int:
        return len(self.N)

    def __add__(self, other: Points) -> Points:
        return Points(**{name: np.concatenate([getattr(self, name), getattr(other, name)]) for name in "NDC"})

    def only(self, keep: np.ndarray) -> Points:
        """Those at `keep` (bool or indices)."""
        return Points(N=self.N[keep], D=self.D[keep], C=self.C[keep])

    def among(self, others: Points) -> np.ndarray:
        """Which of these are among `others`, (points,) bool: the same N and, within 2 %, the same D."""
        n, d = (np.log(mine)[:, None] - np.log(theirs) for mine, theirs in ((self.N, others.N), (self.D, others.D)))
        return np.asarray(((np.abs(n) < SAME_SIZE) & (np.abs(d) < SAME_TOKENS)).any(axis=1))


def points_of(candidates: Iterable[Candidate]) -> Points:
    """Candidates as arrays."""
    rows = [(each.num_params, each.num_tokens, each.flops) for each in candidates]
    N, D, C = np.array(rows, dtype=float).reshape(-1, 3).T
    return Points(N=N, D=D, C=C)
