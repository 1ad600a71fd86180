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
from flops_fit.scaling_law.quantities import MOST_COMPUTE, checked_compute

BEYOND = 10.0  # times the largest run: what is asked about where nothing is said


def compare_laws(
    laws: Mapping[str, Any] | Sequence[Any],
    at: Iterable[float] | float | None = None,
    *,
    names: Sequence[str] | None = None,
) -> Comparison:
    """Which of two laws has the lower loss at each compute of `at`, how sure that is, and what it is worth in compute.

    Everything is from the draws of both laws, misfit of their forms included: paired for laws of one
    `fit_scaling_law_together`, independent otherwise. Neither knows how much both would be off together.

    Args:
        laws: two laws by name, or a list of two.
        at: FLOPs; by default 10 times the largest run of either.
        names: of a list; "A" and "B" where left out.

    Raises `FitError` for anything but two laws, for losses in two units or on two held-out sets, for a law that its
    runs do not determine, and for a compute that is no positive number.
    """
    named = two_laws(laws, names)
    notes = refuse_incomparable(named)
    first, second = named.values()
    largest = max(float(law.runs.flops.max()) for law in (first, second))
    targets = _targets(BEYOND * largest if at is None else at)
    pairs = pair(first, second)
    furthest = min(max([*targets, BEYOND * largest]), MOST_COMPUTE)
    a, b = named
    return Comparison(
        names=(a, b),
        laws=(first, second),
        targets=tuple(at_target(pairs, compute) for compute in targets),
        crossings=crossings(pairs, (a, b), furthest),
        together=fitted_together(first, second),
        notes=notes,
    )


def _targets(at: Any) -> list[float]:
    """FLOPs, ascending, each once."""
    several = list(at) if isinstance(at, Iterable) and not isinstance(at, str) else at
    found = np.unique(checked_compute(several))
    if not len(found):
        raise FitError(f"at = {at!r} names no compute; give FLOPs, such as at=[1e21], or leave it out")
    return [float(compute) for compute in found]
