"""What an edit of a study does to its plan, before anything is planned again: how many experiments are new and kept."""

from __future__ import annotations

import warnings
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from flops_fit.errors import FileError, FlopsFitWarning, StudyError
from flops_fit.stages import study_plan
from flops_fit.sweep.diff import diff_plans
from flops_fit.sweep.enough import empty_budgets
from flops_fit_assets.storage.store import StudyStore

if TYPE_CHECKING:
    from flops_fit.study.study import Study
    from flops_fit.sweep.experiment import Experiment
    from flops_fit.sweep.sweep_plan import SweepPlan


def change_text(differences: Sequence[str], effect: str) -> str:
    """`compute_budgets + 4e9: 7 added, 28 kept`."""
    return ": ".join(filter(None, [", ".join(differences), effect]))


def effect_on_plan(study: Study, directory: Path, *, same_sizes: bool) -> str:
    """What planning `study` anew does to the plan in its `directory`; "" where that cannot be told without doing it.

    `same_sizes` says that the size map there is of the study's model as it is. Raises `StudyError` for a budget that
    admits no size, which planning would refuse.
    """
    store = StudyStore(directory=directory)
    try:
        before: SweepPlan = store.read("sweep_plan")
        size_map = store.read("size_map") if same_sizes else None
    except (FileNotFoundError, FileError):  # the asset of each says what is wrong with it
        return ""
    others = {item.outcome_fingerprint for item in before.trainings} != {study.outcome_fingerprint()}
    if others and not study.tuning and (size_map is None or study.adaptive is not None):
        return f"all {len(before.trainings)} experiments planned so far are replaced"
    if size_map is None or study.adaptive is not None or study.tuning is not None or study.sweep.centre_on_law:
        return ""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FlopsFitWarning)  # whoever plans says it
        after = study_plan(study, size_map)
    if empty := empty_budgets(after.by_budget(), after.notes):
        raise StudyError(f"{empty}; the earlier plan stays in force")
    return effect_text(store, before.trainings, after.trainings)


def effect_text(store: StudyStore, before: Collection[Experiment], after: Collection[Experiment]) -> str:
    """`7 added, 28 kept`, and how many of the new ones have their result in `store` already."""
    found = diff_plans(before, after)
    again = sum(_is_finished(store, item.experiment_id) for item in found.added)
    known = f" ({again} of them trained before)" if again else ""
    if found.added and found.removed and not found.kept:
        return f"all {len(found.added)} trained anew{known}"
    parts = [f"{len(found.added)} added{known}"] if found.added else []
    parts += [f"{len(found.removed)} removed"] if found.removed else []
    return ", ".join([*parts, f"{len(found.kept)} kept"])


def _is_finished(store: StudyStore, experiment_id: str) -> bool:
    try:
        return bool(store.read_here("training_run", experiment_id).is_final)
    except (FileNotFoundError, FileError):
        return False
