"""Held-out sets by name: what they may be called, and which of them the law is fitted to."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from flops_fit.basics.arguments import did_you_mean, matching, need
from flops_fit.errors import StudyError

NAME = matching(r"[A-Za-z][A-Za-z0-9_]{0,39}", "a letter followed by at most 39 letters, digits or underscores")


def check_names(what: str, names: Iterable[Any]) -> None:
    """Raise `StudyError` where a name cannot be that of a column."""
    for name in names:
        need(f"a name in {what}", name, NAME, StudyError)


def check_sets(held_out: Any, for_law: Any) -> None:
    """Raise `StudyError` where named sets are none, or the one that the law is to be fitted to is none of them."""
    named = isinstance(held_out, Mapping)
    if named and not held_out:
        raise StudyError('data.eval has no set; give at least one, such as web = "my_data:web"')
    check_names("data.eval", held_out if named else ())
    for name, source in held_out.items() if named else ():
        if source is None:
            raise StudyError(f"data.eval.{name} is None; give a dataset, or a function that returns one")
    if for_law is None or (named and for_law in held_out):
        return
    if not named:
        raise StudyError(
            f"data.eval_for_law = {for_law!r} is for held-out sets by name, such as "
            '[data.eval] web = "my_data:web"; leave it out'
        )
    known = did_you_mean(str(for_law), held_out)
    raise StudyError(f"data.eval_for_law = {for_law!r} is none of the held-out sets in data.eval; {known}")
