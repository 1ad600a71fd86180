"""Command lines from templates such as `"train.py --width {width}"`: names in braces become an experiment's values."""

from __future__ import annotations

import difflib
import shlex
import string
from collections.abc import Iterable, Mapping
from dataclasses import fields
from typing import Any

from flops_fit.errors import StudyError
from flops_fit.sweep.experiment import Experiment

PATHS = ("experiment_path", "result_path", "output_dir")


def values_of(experiment: Experiment) -> dict[str, Any]:
    """What a template may name of an experiment: its fields, what is tuned by its own name, the size by that of the
    size parameter, and what else it sets by name."""
    own = {experiment.size_param: experiment.size_param_value, **experiment.arguments}
    return experiment.to_dict() | dict(experiment.tuned) | own


def fill(template: str, values: Mapping[str, Any]) -> str:
    """The command line, each value quoted for the shell; `KeyError`, `IndexError` or `ValueError` where it cannot be.

    A literal brace is written twice, as in `str.format`.
    """
    return template.format_map({name: shlex.quote(str(value)) for name, value in values.items()})


def check_template(template: str, size_param: str, *, more: Iterable[str] = ()) -> None:
    """Raise `StudyError` for a template of a study's trainer that could not be filled, with the nearest known name."""
    own = [item.name for item in fields(Experiment) if item.name != "tuned"]  # a study with a trainer tunes nothing
    known = dict.fromkeys([*own, size_param, *PATHS, *more])
    remedy = "write a name in single braces and a literal brace twice, as in {{ and }}"
    try:
        named = [name for _, name, _, _ in string.Formatter().parse(template) if name is not None]
    except ValueError as error:
        raise StudyError(f"trainer.command = {template!r} cannot be filled ({error}); {remedy}") from error
    for name in named:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {{{near[0]}}}?" if near else f"known are {', '.join(known)}; {remedy}"
            raise StudyError(f"trainer.command has an unknown placeholder {{{name}}}; {hint}")
    try:
        fill(template, dict.fromkeys(known, "x"))
    except (KeyError, IndexError, ValueError) as error:
        raise StudyError(f"trainer.command = {template!r} cannot be filled ({error}); {remedy}") from error
