"""compare_laws: which of two laws is the better at a compute, and how sure that is."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from flops_fit.errors import FitError
from flops_fit.scaling_law.comparison.at_target import at_target
from flops_fit.scaling_law.comparison.comparable import refuse_incomparable, two_laws
from flops_fit.scaling_law.comparison.comparison import Comparison
from flops_fit.scaling_law.comparison.crossing import crossings
from flops_fit.scaling_law.comparison.paired import fitted_together, pair
from flops_fit.scaling_law.comparison.speed import speeds_of
from flops_fit.scaling_law.quantities import MOST_COMPUTE, checked_compute

BEYOND = 10.0  # times the largest run: what is asked about where nothing is said


def compare_laws(
    laws: Mapping[str, Any] | Sequence[Any],
    at: Iterable[float] | float | None = None,
    *,
    names: Sequence[str] | None = None,
    timed: Mapping[str, Any] | Sequence[Any] | None = None,
) -> Comparison:
    """Which of two laws has the lower loss at each compute of `at`, how sure that is, and what it is worth in compute.

    Everything is from the draws of both laws, misfit of their forms included: paired for laws of one
    `fit_scaling_law_together`, independent otherwise. Neither knows how much both would be off together.

    Args:
        laws: two laws by name, or a list of two.
        at: FLOPs; by default 10 times the largest run of either.
        names: of a list; "A" and "B" where left out.
        timed: the runs of each law as a table with the columns num_params, flops, seconds and device (such as
            `load_runs` of its study's `runs.csv`), by name or in order, from which the answer is told in time too.

    Raises `FitError` for anything but two laws, for losses in two units or on two held-out sets, for a law that its
    runs do not determine, and for a compute that is no positive number.
    """
    named = two_laws(laws, names)
    notes = refuse_incomparable(named)
    first, second = named.values()
    largest = max(float(law.runs.flops.max()) for law in (first, second))
    targets = targets_of(beyond(largest) if at is None else at)
    pairs = pair(first, second)
    furthest = min(max([*targets, BEYOND * largest]), MOST_COMPUTE)
    a, b = named
    speeds, unknown = speeds_of(by_name(timed, named), (a, b))
    pair_of_speeds = (speeds[a], speeds[b]) if speeds else None
    return Comparison(
        names=(a, b),
        laws=(first, second),
        targets=tuple(at_target(pairs, compute, pair_of_speeds) for compute in targets),
        crossings=crossings(pairs, (a, b), furthest),
        together=fitted_together(first, second),
        notes=notes,
        speeds=speeds,
        time_unknown=unknown,
    )


def by_name(timed: Any, names: Iterable[str]) -> Mapping[str, Any] | None:
    """Runs by the names of their laws; None where none are given."""
    if timed is None or isinstance(timed, Mapping):
        return timed
    return dict(zip(names, timed, strict=False))


def beyond(largest: float) -> float:
    """The compute that is asked about where nothing is said, as it is shown and typed: three digits."""
    return float(f"{BEYOND * largest:.3g}")


def targets_of(at: Any) -> list[float]:
    """FLOPs, ascending, each once."""
    several = list(at) if isinstance(at, Iterable) and not isinstance(at, str) else at
    found = np.unique(checked_compute(several))
    if not len(found):
        raise FitError(f"at = {at!r} names no compute; give FLOPs, such as at=[1e21], or leave it out")
    return [float(compute) for compute in found]
