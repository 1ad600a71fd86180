"""rank_laws: which of several laws is the best at a compute, and how sure that is."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any

from flops_fit.basics.arguments import TEXT, need
from flops_fit.errors import FitError
from flops_fit.scaling_law.comparison.axis import Axis
from flops_fit.scaling_law.comparison.comparable import refuse_incomparable
from flops_fit.scaling_law.comparison.compare import beyond, by_name, targets_of
from flops_fit.scaling_law.comparison.paired import fitted_together
from flops_fit.scaling_law.comparison.ranked_at import ranked_at
from flops_fit.scaling_law.comparison.ranking import Ranking
from flops_fit.scaling_law.comparison.speed import speeds_of
from flops_fit.scaling_law.fitted import FittedLaw

EXAMPLE = 'rank_laws({"8": law_a, "16": law_b, "32": law_c}, at=[1e21])'


def rank_laws(
    laws: Mapping[str, Any],
    at: Iterable[float] | float | None = None,
    *,
    axis: str | None = None,
    values: Sequence[Any] | None = None,
    timed: Mapping[str, Any] | Sequence[Any] | None = None,
    same_data: bool = False,
) -> Ranking:
    """Which of two or more laws has the lowest loss at each compute of `at`, how sure that is, and what it is worth.

    Everything is from the draws of the laws, misfit of their forms included, as in `compare_laws`; of laws fitted apart
    the probability of being the best is that over all combinations of their draws.

    Args:
        laws: the laws by name. Those that their runs do not determine are left out, which is noted.
        at: FLOPs; by default 10 times the largest run of any.
        axis: what is varied from law to law, such as "embedding"; with it the answer says whether the best value lies
            among those tried.
        values: of `axis`, one for each law; by default the names, as numbers where they are.
        timed: as of `compare_laws`.
        same_data: whether all losses are known to be on the same held-out data, so that no note asks for it.

    Raises `FitError` for fewer than two laws that their runs determine, for losses in two units or on two held-out
    sets, for values that are not as many as the laws, and for a compute that is no positive number.
    """
    named, varied = _checked(laws, axis, values)
    kept = {name: law for name, law in named.items() if law.determined}
    left_out = [f"{name} is left out: its runs do not determine a law" for name in named if name not in kept]
    if len(kept) < 2:
        raise FitError(
            f"of {len(named)} laws {len(kept)} {'is' if len(kept) == 1 else 'are'} determined by the runs "
            f"({'; '.join(left_out) or 'none is left out'}), and it takes two to compare: {EXAMPLE}"
        )
    if varied is not None:
        varied = Axis(
            name=varied.name, values=[value for name, value in zip(named, varied.values, strict=True) if name in kept]
        )
    said = [note for both in pairwise(kept.items()) for note in refuse_incomparable(dict(both))]
    notes = [] if same_data else said
    largest = max(float(law.runs.flops.max()) for law in kept.values())
    speeds, unknown = speeds_of(by_name(timed, named), tuple(kept))
    return Ranking(
        laws_by_name=kept,
        targets=tuple(
            ranked_at(list(kept.values()), compute, list(speeds.values()))
            for compute in targets_of(beyond(largest) if at is None else at)
        ),
        axis=varied,
        together=all(fitted_together(*both) for both in pairwise(kept.values())),
        notes=(*left_out, *dict.fromkeys(notes)),
        speeds=speeds,
        time_unknown=unknown,
    )


def _checked(laws: Any, axis: str | None, values: Any) -> tuple[dict[str, FittedLaw], Axis | None]:
    if not isinstance(laws, Mapping) or len(laws) < 2:
        raise FitError(f"laws = {type(laws).__name__} must be two or more laws by name, as in {EXAMPLE}")
    for name, law in laws.items():
        need("a law's name", name, TEXT, FitError)
        if not isinstance(law, FittedLaw):
            raise FitError(f"{name!r} is {type(law).__name__}, no law; give what fit_scaling_law returns: {EXAMPLE}")
    if axis is None:
        if values is not None:
            raise FitError(f"values = {values!r} without axis, what they are of; give its name, such as axis='depth'")
        return dict(laws), None
    need("axis", axis, TEXT, FitError)
    given = [_number(name) for name in laws] if values is None else list(values)
    if len(given) != len(laws):
        raise FitError(f"values = {given!r} are {len(given)} for {len(laws)} laws; give one for each")
    return dict(laws), Axis(name=axis, values=given)


def _number(text: str) -> float | int | str:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
