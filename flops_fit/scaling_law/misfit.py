"""How far off a law is beyond its sampling error: the misfit of its form, which grows with ln C beyond the runs.

A study whose runs show no bend (`fitting.shape`) hides one no larger than about its sampling error, so that is widened.
Where its budgets span less than a decade, nothing of a bend could have been seen, and what is common is added in full.
One that shows a bend is judged by its own past: laws fitted without the largest one and two budgets, by the same
procedure, missed them by so much for each factor e in compute. These rates are pooled with what public studies showed
(`benchmarks/holdout.py`), as a scaled inverse chi-squared prior is: intervals are Student's.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field

import numpy as np
from scipy import special

from flops_fit.basics.from_json import NULL_IS_INFINITY, NULL_IS_NAN

UNSEEN = 1.15  # by which sampling error is widened where no bend shows
NEAREST = 0.7  # ln C that counts at least: one budget on
PRIOR_FREEDOM = 8.0
MOST_OWN = 3.0  # degrees of freedom that a study's own past counts for: its misses are of one law, and correlated
DECADE = float(np.log(10.0))  # of compute: in less no bend shows, in more ever more of it
UNSEEN_LOSS_RATE = 0.01  # of ln L, and
UNSEEN_SIZE_RATE = 0.14  # of ln N_opt per factor e in compute, where nothing of a bend could be seen
LOSS_RATE, SIZE_RATE = 0.003, 0.1  # the prior's, where it could


@dataclass(frozen=True, kw_only=True)
class Miss:
    """How a law fitted to a part missed a budget left out, `distance` in ln C beyond it: mean `ln L_pred - ln L` near
    the valley, and `ln N_opt` over the budget's own minimum (NaN where it has none inside)."""

    distance: float
    log_loss: float
    log_size: float = field(metadata=NULL_IS_NAN)

    def to_dict(self) -> dict[str, float | None]:
        """Plain JSON values."""
        return {name: None if np.isnan(value) else value for name, value in asdict(self).items()}


@dataclass(frozen=True, kw_only=True)
class Misfit:
    """Standard errors of ln L and ln N_opt per factor e of compute, their degrees of freedom, and how much sampling
    error is widened (1 where the rates alone stand for the misfit)."""

    loss_rate: float = 0.0
    size_rate: float = 0.0
    loss_freedom: float = field(default=np.inf, metadata=NULL_IS_INFINITY)
    size_freedom: float = field(default=np.inf, metadata=NULL_IS_INFINITY)
    widening: float = 1.0

    def draws(self, quantity: str, distance: float, spread: float, count: int, seed: int) -> np.ndarray:
        """Errors of ln N_opt ("N_opt") or ln L ("loss") at `distance` in ln C beyond the runs, shape (count,);
        `spread` is the candidates' standard deviation there."""
        rate, freedom = (
            (self.size_rate, self.size_freedom) if quantity == "N_opt" else (self.loss_rate, self.loss_freedom)
        )
        if rate == 0:
            return np.zeros(count)
        return np.asarray(np.hypot(rate * max(distance, NEAREST), spread) * _student(count, freedom, seed))

    def to_dict(self) -> dict[str, float | None]:
        """Plain JSON values (infinity as null)."""
        return {name: value if np.isfinite(value) else None for name, value in asdict(self).items()}


def unseen_share(span: float | np.ndarray) -> np.ndarray:
    """How much of a common bend runs that span `span` in ln C cannot show: all of it within a decade, then ever less.

    What a bend does to the losses of the runs grows at least as the square of their span, and what hides it does not.
    The sixth power leaves 1/64 over two decades, so exact laws pay next to nothing (`benchmarks/small_studies.py`).
    """
    return np.asarray(np.minimum(1.0, (DECADE / np.maximum(span, 1e-9)) ** 6))


def hidden(span: float) -> Misfit:
    """The misfit of a study whose runs show no bend, from the budgets' span in ln C."""
    share = float(unseen_share(span))
    return Misfit(
        loss_rate=share * UNSEEN_LOSS_RATE,
        size_rate=share * UNSEEN_SIZE_RATE,
        loss_freedom=PRIOR_FREEDOM,
        size_freedom=PRIOR_FREEDOM,
        widening=UNSEEN,
    )


def misfit_of(misses: Sequence[Miss], span: float, *, prior: float = 1.0) -> Misfit:
    """The misfit of a study whose runs show a bend, from its misses and its budgets' span in ln C; `prior` times what
    public studies showed."""
    share = float(unseen_share(span))
    of_loss = LOSS_RATE + share * (UNSEEN_LOSS_RATE - LOSS_RATE)
    of_size = SIZE_RATE + share * (UNSEEN_SIZE_RATE - SIZE_RATE)
    loss_rate, loss_freedom = _pooled([miss.log_loss for miss in misses], misses, prior * of_loss)
    size_rate, size_freedom = _pooled([miss.log_size for miss in misses], misses, prior * of_size)
    return Misfit(loss_rate=loss_rate, size_rate=size_rate, loss_freedom=loss_freedom, size_freedom=size_freedom)


@functools.lru_cache(maxsize=8)
def _student(count: int, freedom: float, seed: int) -> np.ndarray:
    """Student's t at evenly spaced probabilities, shuffled, shape (count,)."""
    level = (np.random.default_rng(seed).permutation(count) + 0.5) / count
    return np.asarray(special.stdtrit(freedom, level))


def _pooled(errors: list[float], misses: Sequence[Miss], prior: float) -> tuple[float, float]:
    distances = np.array([max(miss.distance, NEAREST) for miss in misses])
    rates = np.array(errors) / distances
    known = rates[np.isfinite(rates)]
    own = min(float(len(known)), MOST_OWN)
    squares = PRIOR_FREEDOM * prior**2 + (own * float(np.mean(known**2)) if len(known) else 0.0)
    return float(np.sqrt(squares / (PRIOR_FREEDOM + own))), PRIOR_FREEDOM + own
