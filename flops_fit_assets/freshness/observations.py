"""What observations of a study's parts, and its plan, say of an edit: what was changed, and what that does."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import dagster as dg

from flops_fit.errors import FileError
from flops_fit_assets.freshness.changes import change_text, effect_text
from flops_fit_assets.freshness.fingerprints import Reading
from flops_fit_assets.freshness.history import latest_materialization, latest_observed, latest_settings, settings_in
from flops_fit_assets.freshness.settings import CHANGE, SETTINGS, differences_in_words, settings_of
from flops_fit_assets.freshness.versions import DATA_VERSION_TAG
from flops_fit_assets.source import StudySource

if TYPE_CHECKING:
    from flops_fit.sweep.sweep_plan import SweepPlan


def observations(
    source: StudySource, instance: dg.DagsterInstance, reading: Reading
) -> tuple[list[dg.AssetObservation], str]:
    """An observation of each part that is another than it was last seen, and in a line what was changed and does."""
    keys = {part: source.key("study", part) for part in reading.versions}
    changed = {part: key for part, key in keys.items() if latest_observed(instance, key) != reading.versions[part]}
    if not changed:
        return [], ""
    before = latest_settings(instance, keys.values())
    differences = differences_in_words(before, reading.settings) if before else []
    said = change_text(differences, reading.effect) or f"{' and '.join(changed)} as first seen"
    kept: dict[str, Any] = {CHANGE: said, SETTINGS: dg.MetadataValue.json(dict(reading.settings))}
    found = [
        dg.AssetObservation(key, tags={DATA_VERSION_TAG: reading.versions[part]}, metadata=kept)
        for part, key in changed.items()
    ]
    return found, said


def plan_change(source: StudySource, instance: dg.DagsterInstance, plan: SweepPlan) -> dict[str, Any]:
    """What a new plan shows of what it was planned again for: the difference to the one that is there, and settings.

    To be asked before the new plan takes its place.
    """
    settings = settings_of(source.study)
    kept = {SETTINGS: dg.MetadataValue.json(settings)}
    try:
        there: SweepPlan = source.store.read("sweep_plan")
    except (FileNotFoundError, FileError):  # the first, or whatever asset reads it says what is wrong with it
        return {CHANGE: f"planned for the first time: {len(plan.trainings)} experiments"} | kept
    before = settings_in(latest_materialization(instance, source.key("sweep_plan")))
    differences = differences_in_words(before, settings) if before else []
    effect = effect_text(source.store, there.trainings, plan.trainings)
    return {CHANGE: change_text(differences or ["the same study"] if before else [], effect)} | kept
