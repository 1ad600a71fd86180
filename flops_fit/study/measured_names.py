"""Held-out sets and metrics by name: what they may be called, and which set the law is fitted to."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from typing import Any

from flops_fit.basics.arguments import did_you_mean, matching, need
from flops_fit.errors import StudyError
from flops_fit.results.results import ExperimentResult

NAME = matching(r"[A-Za-z][A-Za-z0-9_]{0,39}", "a letter followed by at most 39 letters, digits or underscores")
_TAKEN = {item.name for item in fields(ExperimentResult)}


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


def check_metrics(metrics: Any, sets: Iterable[str]) -> None:
    """Raise `StudyError` for metrics that cannot be called with a model and a batch, or whose names are taken."""
    if not isinstance(metrics, Mapping):
        raise StudyError(
            f"data.metrics = {metrics!r} must be functions by name, such as "
            '[data.metrics] accuracy = "flops_fit.metrics:accuracy"'
        )
    check_names("data.metrics", metrics)
    names = list(sets)
    for name, metric in metrics.items():
        _refuse_taken(f"data.metrics.{name}", name, names)
        if not callable(metric):
            raise StudyError(f"data.metrics.{name} = {metric!r} cannot be called; give a function of (model, batch)")
        _check_arity(name, metric)
    _refuse_twice(metrics, names)


def check_reported(sets: Sequence[str], for_law: str | None, metrics: Sequence[str]) -> None:
    """Raise `StudyError` where what a trainer is to report has names that cannot be told apart or used."""
    for what, names in (("trainer.eval_sets", sets), ("trainer.metrics", metrics)):
        check_names(what, names)
        if len(set(names)) < len(names):
            raise StudyError(f"{what} = {list(names)} has a name twice; leave one out")
    if for_law is not None and for_law not in sets:
        known = did_you_mean(for_law, sets) if sets else "name the sets in eval_sets, or leave it out"
        raise StudyError(f"trainer.eval_for_law = {for_law!r} is none of trainer.eval_sets; {known}")
    for name in metrics:
        _refuse_taken(f"trainer.metrics {name!r}", name, sets)
    _refuse_twice(metrics, sets)


def _refuse_taken(what: str, name: str, sets: Iterable[str]) -> None:
    if name in _TAKEN or name in sets or name.startswith("loss_"):
        raise StudyError(f"{what} has the name of a column of results or of a held-out set; rename it")


def _refuse_twice(metrics: Iterable[str], names: Sequence[str]) -> None:
    columns = [f"{metric}_{name}" for metric in metrics for name in names]
    if len(set(columns)) < len(columns):
        twice = next(column for column in columns if columns.count(column) > 1)
        raise StudyError(f"metrics and held-out sets give the column {twice} twice; rename one of them")


def _check_arity(name: str, metric: Any) -> None:
    try:
        signature = inspect.signature(metric)
    except (TypeError, ValueError):  # built-ins without one: the first batch will tell
        return
    try:
        signature.bind(None, None)
    except TypeError as error:
        raise StudyError(
            f"data.metrics.{name} = {signature} cannot be called with two arguments ({error}); it must accept "
            "(model, batch)"
        ) from error
