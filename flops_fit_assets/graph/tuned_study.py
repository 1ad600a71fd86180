"""The study with the rule for what it tunes, once `recipe_law` has it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flops_fit.errors import FileError, StudyError
from flops_fit_assets.source import StudySource

if TYPE_CHECKING:
    from flops_fit.study.study import Study


def with_recipe(source: StudySource) -> Study:
    """The study of `source`, knowing its tuned recipe where it tunes one and that was found."""
    study = source.study
    if study.tuning is None:
        return study
    try:
        return study.with_tuned_recipe(source.store.read("recipe_law"))
    except (FileError, FileNotFoundError, StudyError):  # its asset says what is wrong with it, or finds another
        return study
