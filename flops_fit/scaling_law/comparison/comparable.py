"""Which two laws can be compared: their losses must be of one unit and one held-out set, as far as the laws know."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from flops_fit.basics.arguments import TEXT, need, several
from flops_fit.errors import FitError
from flops_fit.scaling_law.by_set import SET_OPTION
from flops_fit.scaling_law.fitted import FittedLaw

EXAMPLE = 'compare_laws({"old": law_a, "new": law_b}, at=[1e21])'


def two_laws(laws: Any, names: Sequence[str] | None) -> dict[str, FittedLaw]:
    """`laws` by name; raises `FitError` unless they are two laws of two names."""
    if isinstance(laws, Mapping):
        if names is not None:
            raise FitError(f"names = {names!r} are for a list; a mapping has names of its own, as in {EXAMPLE}")
        named = dict(laws)
    else:
        given = list(laws) if isinstance(laws, Sequence) and not isinstance(laws, str) else [laws]
        named = dict(zip(_names(names, len(given)), given, strict=True))
    for name, law in named.items():
        need("a law's name", name, TEXT, FitError)
        if not isinstance(law, FittedLaw):
            raise FitError(f"{name!r} is {type(law).__name__}, no law; give what fit_scaling_law returns: {EXAMPLE}")
    if len(named) != 2:
        raise FitError(f"{len(named)} laws were given, and two can be compared at a time: {EXAMPLE}")
    return named


def _names(names: Sequence[str] | None, count: int) -> list[str]:
    if names is None:
        return ["A", "B", *(f"law {number}" for number in range(3, count + 1))][:count]
    need("names", names, several(TEXT, 'a name for each law, such as ["old", "new"]'), FitError)
    if len(names) != count or len(set(names)) != count:
        raise FitError(f"names = {list(names)!r} must be {count} different ones, one for each law")
    return list(names)


def refuse_incomparable(laws: Mapping[str, FittedLaw]) -> tuple[str, ...]:
    """What could not be checked, in words; raises `FitError` for losses of two units or two held-out sets, and for a
    law that its runs do not determine."""
    for name, law in laws.items():
        if not law.determined:
            raise FitError(
                f"the runs of {name} do not determine a law, so nothing follows from its numbers; "
                f"law.summary() says what to train, and flops-fit suggest too"
            )
    (a, first), (b, second) = laws.items()
    units = first.loss_unit, second.loss_unit
    if all(units) and units[0] != units[1]:
        raise FitError(
            f"the losses of {a} are in {units[0]}, those of {b} in {units[1]}, and cannot be compared; bring both to "
            f'one unit and fit again, with loss_unit="..." where a column only has the wrong name'
        )
    sets = first.options.get(SET_OPTION), second.options.get(SET_OPTION)
    if all(sets) and sets[0] != sets[1]:
        raise FitError(
            f"the losses of {a} are on held-out set {sets[0]}, those of {b} on {sets[1]}, and cannot be compared; fit "
            f"both to one set: flops-fit fit study.toml --eval-set {sets[0]}"
        )
    return tuple(filter(None, [_unit_note(laws), _set_note(laws, sets)]))


def _unit_note(laws: Mapping[str, FittedLaw]) -> str:
    unknown = [name for name, law in laws.items() if not law.loss_unit]
    return f"the unit of the losses of {' and '.join(unknown)} is not known; it must be the other's" if unknown else ""


def _set_note(laws: Mapping[str, FittedLaw], sets: tuple[str | None, str | None]) -> str:
    if all(sets):
        return f"both losses are on a held-out set named {sets[0]}; that it is the same data is for you to know"
    return "that both losses are on the same held-out data, in the same tokens, is for you to know"
