"""Losses on several held-out sets, and metrics, in what a command of the user's own reports."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from flops_fit.errors import FlopsFitError, StudyError
from flops_fit.study.measured_names import check_reported

_AGREE = 1e-6  # relative, as both may be rounded


class BadReport(FlopsFitError):
    """What a command left as its result cannot be taken as one; the message says why."""


def with_loss_of_first(content: dict[str, Any], first: str, path: Path) -> dict[str, Any]:
    """The report with the loss on the first held-out set as its `loss`; raises `BadReport` where the two differ."""
    losses = _mapping(content, "losses", path)
    if "loss" not in content:
        _refuse_missing("losses", "trainer.eval_sets", [first], losses, path)
        return content | {"loss": losses[first]}
    loss: Any = losses.get(first)
    given = content["loss"]
    if _is_number(given) and _is_number(loss) and not _agree(given, loss):
        raise BadReport(
            f"loss = {given!r} in {path}, and losses.{first} = {loss!r}: loss is that of the first of "
            "trainer.eval_sets; leave it out, or correct one of them"
        )
    return content


def _agree(one: float, other: float) -> bool:
    """Whether they are one loss: alike, or both that of a training that diverged."""
    return math.isclose(one, other, rel_tol=_AGREE) or not (math.isfinite(one) or math.isfinite(other))


def measured_in(
    content: Mapping[str, Any], path: Path, sets: Sequence[str], metrics: Sequence[str]
) -> dict[str, dict[str, float]]:
    """`losses` by held-out set and `metrics` by column (of named sets `accuracy_web`) of a report.

    A metric is a number, or a mapping of one for each set. What the study does not name is kept too. Raises `BadReport`
    for what it names and is not there, for names that cannot be columns, and for values that are no finite numbers.
    """
    losses = _mapping(content, "losses", path)
    given = _mapping(content, "metrics", path)
    _refuse_missing("losses", "trainer.eval_sets", sets, losses, path)
    _refuse_missing("metrics", "trainer.metrics", metrics, given, path)
    found: dict[str, float] = {}
    for name, value in given.items():
        if sets or isinstance(value, dict):
            found |= _by_set(name, value, path, sets, losses)
        else:
            found[name] = _finite(f"metrics.{name}", value, path)
    try:
        check_reported(list(losses), None, list(given))
    except StudyError as error:
        raise BadReport(
            f"{path}: {str(error).replace('trainer.eval_sets', 'losses').replace('trainer.', '')}"
        ) from error
    return {"losses": {name: _finite(f"losses.{name}", loss, path) for name, loss in losses.items()}, "metrics": found}


def _by_set(name: str, value: Any, path: Path, sets: Sequence[str], losses: Mapping[str, Any]) -> dict[str, float]:
    if not isinstance(value, dict):
        example = ", ".join(f'"{each}": ...' for each in sets)
        raise BadReport(
            f"metrics.{name} = {value!r} in {path} must be a number for each held-out set: {{{example}}}; correct what "
            "the command writes"
        )
    _refuse_missing(f"metrics.{name}", "trainer.eval_sets", sets, value, path)
    unknown = next((each for each in value if each not in losses), None)
    if unknown is not None:
        raise BadReport(
            f"metrics.{name} in {path} is for {unknown!r}, which has no loss; report losses.{unknown} too, or leave it "
            "out"
        )
    return {f"{name}_{each}": _finite(f"metrics.{name}.{each}", number, path) for each, number in value.items()}


def _mapping(content: Mapping[str, Any], name: str, path: Path) -> dict[str, Any]:
    value = content.get(name) or {}
    if not isinstance(value, dict):
        raise BadReport(
            f"{name} = {value!r} in {path} must be an object of numbers by name; correct it or leave it out"
        )
    return value


def _refuse_missing(what: str, key: str, wanted: Sequence[str], there: Mapping[str, Any], path: Path) -> None:
    missing = next((name for name in wanted if name not in there), None)
    if missing is not None:
        raise BadReport(
            f"{what} in {path} has {', '.join(map(str, there)) or 'nothing'} and no {missing}, which {key} names; "
            "report it, or take it out there"
        )


def _finite(what: str, value: Any, path: Path) -> float:
    if not _is_number(value) or not math.isfinite(value):
        raise BadReport(f"{what} = {value!r} in {path} must be a finite number; correct what the command writes")
    return float(value)


def _is_number(value: Any) -> bool:
    return (
        isinstance(value, int | float)
        and not isinstance(value, bool)
        and (isinstance(value, float) or abs(value) < 1 << 1023)
    )
